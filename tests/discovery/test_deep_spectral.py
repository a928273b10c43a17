import numpy as np
import pytest
import torch

from segtricks.discovery import deep_spectral
from segtricks.errors import UserError


def test_equals_the_first_implementation(published):
    ours = deep_spectral(published["features"])
    np.testing.assert_allclose(ours.eigenvalues[0].numpy(), published["spectral_eigenvalues"], rtol=0, atol=1e-7)
    for vector, expected in zip(ours.eigenvectors[0].numpy().T, published["spectral_eigenvectors"].T, strict=True):
        scale = (vector @ expected) / (expected @ expected)
        np.testing.assert_allclose(vector, scale * expected, rtol=0, atol=1e-5 * np.abs(vector).max())


def test_mask_is_the_smaller_side_of_the_second_vector(published):
    result = deep_spectral(published["features"])
    mask = result.mask.flatten() > 0
    second = result.eigenvectors[0, :, 1]
    assert 0 < mask.float().mean() <= 0.5
    assert len(set((second[mask] > 0).tolist())) == 1


def test_finds_the_region_that_differs(two_regions):
    result = deep_spectral(two_regions + 0.2, patch_size=8)
    assert result.box.tolist() == [[16, 8, 40, 24]] and result.mask.sum() == 6


def test_a_grid_of_fewer_patches_than_k_gives_as_many_pairs_as_it_has():
    result = deep_spectral(torch.rand(2, 4, 1, 3), k=5)
    assert result.eigenvalues.shape == (2, 3) and result.eigenvectors.shape == (2, 3, 3)


def test_broken_images_get_an_empty_mask_and_leave_the_others_alone(with_broken):
    result, alone = deep_spectral(with_broken), deep_spectral(with_broken[-1:])
    assert result.mask.flatten(1).sum(1).tolist() == [0, 0, 0, 0, 6]
    assert not result.box[:4].any() and torch.isfinite(result.eigenvectors).all()
    assert torch.equal(result.mask[-1:], alone.mask)


def test_one_patch_has_no_object():
    assert not deep_spectral(torch.rand(1, 4, 1, 1)).mask.any()


def test_k_below_two_is_refused():
    with pytest.raises(UserError, match="k must be at least 2, got 1"):
        deep_spectral(torch.zeros(1, 4, 3, 3), k=1)
