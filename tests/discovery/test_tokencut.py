import numpy as np
import pytest
import torch

from segtricks.discovery import tokencut
from segtricks.errors import UserError


def test_equals_the_first_implementation(published):
    ours = tokencut(published["features"], tau=float(published["tokencut_tau"]), patch_size=published["patch"])
    assert ours.box[0].tolist() == published["tokencut_box"].tolist()
    assert ours.seed[0] == published["tokencut_seed"]
    np.testing.assert_array_equal(ours.mask[0, 0].numpy(), published["tokencut_mask"])
    vector, expected = ours.eigenvector.flatten().double().numpy(), published["tokencut_eigenvector"].flatten()
    scale = (vector @ expected) / (expected @ expected)
    np.testing.assert_allclose(vector, scale * expected, rtol=0, atol=1e-5 * np.abs(vector).max())


def test_finds_the_region_that_differs(two_regions):
    result = tokencut(two_regions)
    expected = torch.zeros(1, 1, 6, 7)
    expected[..., 1:3, 2:5] = 1
    assert torch.equal(result.mask, expected)
    assert result.box.tolist() == [[2, 1, 5, 3]]
    assert tokencut(two_regions, patch_size=16).box.tolist() == [[32, 16, 80, 48]]


def test_only_the_part_around_the_seed_stays(two_regions):
    apart = two_regions.clone()
    apart[..., 5, 0] = apart[..., 1, 2]  # a second, smaller patch of the object's kind
    assert tokencut(apart).mask[0, 0, 5, 0] != tokencut(apart).mask[0, 0, 1, 2]


def test_broken_images_get_an_empty_mask_and_leave_the_others_alone(with_broken):
    result, alone = tokencut(with_broken), tokencut(with_broken[-1:])
    assert result.mask.flatten(1).sum(1).tolist() == [0, 0, 0, 0, 6]
    assert result.seed[:4].tolist() == [-1] * 4 and not result.box[:4].any() and not result.eigenvector[:4].any()
    assert torch.equal(result.mask[-1:], alone.mask)


def test_patches_that_are_all_unlike_have_nothing_to_cut():
    one_hot = torch.eye(12).reshape(1, 12, 3, 4)
    assert not tokencut(one_hot).mask.any()


@pytest.mark.parametrize("grid", [(1, 1), (1, 2), (2, 1)])
def test_tiny_grids_have_an_answer(grid):
    result = tokencut(torch.randn(2, 4, *grid))
    assert result.mask.shape == (2, 1, *grid) and torch.isfinite(result.eigenvector).all()


def test_an_empty_batch_is_an_empty_result():
    assert tokencut(torch.zeros(0, 4, 3, 3)).mask.shape == (0, 1, 3, 3)


def test_features_of_another_shape_are_refused():
    with pytest.raises(UserError, match=r"float \(B, D, h, w\)"):
        tokencut(torch.zeros(4, 3, 3))
