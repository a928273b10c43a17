import numpy as np
import pytest
import torch

from segtricks.refine import drop_small_segments


def _mask(*boxes, size=(40, 50)):
    """Boxes (top, left, bottom, right) of alternating foreground and background."""
    mask = torch.zeros(1, 1, *size)
    for place, (top, left, bottom, right) in enumerate(boxes):
        mask[..., top:bottom, left:right] = 1 - place % 2
    return mask


def test_equals_the_published_filter(golden):
    values = np.load(golden / "maskcontrast_mask_filter.npz")
    masks = torch.from_numpy(values["saliency"].astype(np.float32) > 0.5)[:, None]
    found = drop_small_segments(masks)
    assert torch.equal(found.mask[:, 0], torch.from_numpy(values["filtered"] > 0))
    assert torch.equal(found.kept, torch.from_numpy(values["kept"]))


def test_a_small_hole_grows_by_the_pixels_at_its_edges():
    found = drop_small_segments(_mask((5, 5, 35, 45), (18, 20, 22, 24)), min_area=0.02)
    assert int(found.mask.sum()) == 30 * 40 - 16 - 16  # a hole of 4 x 4, and the 16 pixels around it
    assert found.mask[0, 0, 17, 19] == 1  # not those at its corners


def test_a_large_hole_stays_and_a_thin_ring_around_it_counts_with_it():
    ring = _mask((10, 10, 30, 40), (11, 11, 29, 39))
    assert ring.mean() < 0.05
    assert torch.equal(drop_small_segments(ring, min_area=0.05).mask, torch.zeros_like(ring))  # what is left is small
    assert torch.equal(drop_small_segments(ring, min_area=0.04).mask, ring)


def test_segments_joined_at_a_corner_are_one():
    mask = torch.zeros(1, 1, 20, 20)
    mask[..., :2, :2] = mask[..., 2:4, 2:4] = 1
    assert int(drop_small_segments(mask, min_area=0.02).mask.sum()) == 8
    assert int(drop_small_segments(mask, min_area=0.021).mask.sum()) == 0


def test_dtype_stays_and_other_shapes_are_refused():
    assert drop_small_segments(torch.ones(2, 1, 4, 4, dtype=torch.bool)).mask.dtype == torch.bool
    with pytest.raises(ValueError, match="B, 1, H, W"):
        drop_small_segments(torch.ones(2, 4, 4))


def test_no_masks_are_no_masks():
    mask, kept = drop_small_segments(torch.zeros(0, 1, 4, 5))
    assert mask.shape == (0, 1, 4, 5)
    assert kept.shape == (0,)
