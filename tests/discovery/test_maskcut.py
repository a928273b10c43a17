import numpy as np
import pytest
import torch

from segtricks.discovery import mask_contrast, maskcut, tokencut
from segtricks.errors import UserError


@pytest.fixture
def published(golden):
    return np.load(golden / "u2seg_maskcut.npz")


def _features(published, case):
    return torch.from_numpy(published[f"{case}_features"])


def test_masks_equal_the_first_implementation(published):
    ours = maskcut(_features(published, "three"), float(published["three_tau"]), rounds=5)
    np.testing.assert_array_equal(ours.masks[0].numpy(), published["three_masks"])
    for vector, expected in zip(ours.eigenvectors[0].numpy(), published["three_eigenvectors"], strict=False):
        assert abs(np.corrcoef(vector.ravel(), expected.ravel())[0, 1]) > 0.9999
    seeds = ours.seeds[0, :3]
    assert published["three_components"].reshape(3, -1)[range(3), seeds].all()
    assert (ours.eigenvectors[0, :3].flatten(1)[range(3), seeds] > 0).all()


def test_three_corners_turn_the_foreground_over(published):
    ours = maskcut(_features(published, "corner"), float(published["corner_tau"]), rounds=1)
    np.testing.assert_array_equal(ours.masks[0].numpy(), published["corner_mask_peak_positive"])


def test_a_refused_object_blocks_later_rounds_as_published(published):
    ours = maskcut(_features(published, "refused"), float(published["refused_tau"]), rounds=4)
    np.testing.assert_array_equal(ours.masks[0].numpy(), published["refused_masks"])


def test_skip_refused_finds_what_lies_behind(published):
    features, tau = _features(published, "refused"), float(published["refused_tau"])
    areas = maskcut(features, tau, rounds=4, skip_refused=True).masks.sum((2, 3))[0].tolist()
    assert areas[0] > 0 and areas[1] == 0 and max(areas[2:]) > 4


def test_the_first_round_is_that_of_tokencut(two_regions):
    ours, other = maskcut(two_regions, 0.2, rounds=1), tokencut(two_regions, 0.2)
    assert torch.equal(ours.masks, other.mask) and torch.equal(ours.seeds[:, 0], other.seed)


def test_masks_are_disjoint_on_any_grid_and_the_same_in_a_batch():
    features = torch.nn.functional.interpolate(torch.randn(3, 8, 4, 5), size=(17, 23), mode="bilinear")
    masks = maskcut(features, rounds=6, min_area=0, max_overlap=1).masks
    assert masks.sum(1).max() == 1
    assert masks.any(3).any(2).sum(1).tolist() == [1, 2, 2]
    assert torch.equal(masks[1:2], maskcut(features[1:2], rounds=6, min_area=0, max_overlap=1).masks)


def test_broken_images_get_empty_masks_and_leave_the_others_alone(with_broken):
    result, alone = maskcut(with_broken), maskcut(with_broken[-1:])
    assert not result.masks[:4].any() and not result.eigenvectors[:4].any()
    assert result.seeds[:4].unique().tolist() == [-1]
    assert torch.equal(result.masks[-1:], alone.masks) and alone.masks[0, 0].sum() == 6


@pytest.mark.parametrize("grid", [(1, 1), (1, 2), (2, 1), (1, 9)])
def test_tiny_grids_have_an_answer(grid):
    result = maskcut(torch.randn(2, 4, *grid))
    assert result.masks.shape == (2, 3, *grid) and torch.isfinite(result.eigenvectors).all()


def test_no_round_is_refused():
    with pytest.raises(UserError, match="rounds must be at least 1"):
        maskcut(torch.randn(1, 4, 3, 3), rounds=0)


def test_contrast_is_the_mean_cosine_of_pairs_within_less_that_across():
    features, masks = torch.randn(2, 6, 4, 5), (torch.rand(2, 3, 4, 5) > 0.6).float()
    masks[1, 0], masks[1, 1] = 0, 1
    contrast = mask_contrast(features, masks)
    for image, mask in ((0, 0), (0, 1), (0, 2), (1, 2)):
        vectors, inside = features[image].flatten(1).T, masks[image, mask].flatten() > 0
        cosines = torch.nn.functional.cosine_similarity(vectors[:, None], vectors[None], dim=2)
        expected = cosines[inside][:, inside].mean() - cosines[inside][:, ~inside].mean()
        torch.testing.assert_close(contrast[image, mask], expected)
    assert contrast[1, :2].tolist() == [0, 0]
