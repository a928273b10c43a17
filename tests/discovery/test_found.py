import numpy as np
import pytest
import torch

from segtricks.discovery import found_background
from segtricks.errors import UserError


def test_equals_the_first_implementation(published):
    attention = torch.from_numpy(published["found_attention_cls"])[None]
    ours = found_background(published["features"], attention, float(published["found_threshold"]))
    np.testing.assert_array_equal(ours.background[0, 0].numpy(), published["found_background"])
    assert torch.equal(ours.mask, 1 - ours.background)


def test_attention_with_and_without_the_class_token_is_the_same(published):
    attention = torch.from_numpy(published["found_attention_cls"])[None]
    with_token, without = (found_background(published["features"], a) for a in (attention, attention[:, :, 1:]))
    assert torch.equal(with_token.background, without.background)


def test_seed_is_the_patch_of_least_attention_and_its_like_are_background(two_regions):
    attention = torch.full((1, 2, 6, 7), 0.01)
    attention[:, 0, 1:3, 2:5] = 0.2
    attention[:, :, 4, 4] = 0.001
    result = found_background(two_regions, attention.flatten(2), patch_size=8)
    assert result.seed.tolist() == [4 * 7 + 4]
    assert result.mask.sum() == 6 and result.box.tolist() == [[16, 8, 40, 24]]


def test_broken_images_are_all_background_and_leave_the_others_alone(with_broken):
    attention = torch.full((1, 2, 6, 7), 0.01)
    attention[:, 0, 1:3, 2:5] = 0.2
    attention = attention.flatten(2).repeat(len(with_broken), 1, 1)
    result = found_background(with_broken, attention)
    assert result.mask.flatten(1).sum(1).tolist() == [0, 0, 0, 0, 6]
    assert result.seed.tolist()[:1] == [-1] and not result.box[:4].any()
    attention[-1, 0, 0] = float("nan")
    assert not found_background(with_broken, attention).mask.any()


@pytest.mark.parametrize("factor", [1e30, 1e-30, 0.0])
def test_a_seed_without_a_direction_leaves_the_image_empty(two_regions, factor):
    attention = torch.full((1, 2, 6, 7), 0.01)
    attention[:, :, 4, 4] = 0.001
    broken = two_regions.clone()
    broken[..., 4, 4] *= factor
    features = torch.cat([two_regions, broken])
    result = found_background(features, attention.flatten(2).repeat(2, 1, 1))
    assert result.seed.tolist() == [4 * 7 + 4, -1]
    assert result.mask.flatten(1).sum(1).tolist() == [6, 0] and not result.box[1].any()


@pytest.mark.parametrize(("shape", "said"), [((1, 2, 40), "attention must be"), ((1, 3, 42), "3 heads")])
def test_attention_that_does_not_fit_is_refused(two_regions, shape, said):
    with pytest.raises(UserError, match=said):
        found_background(two_regions, torch.rand(shape))
