import numpy as np
import pytest
import torch

from segtricks.pseudo_labels.selection import refined_iou, resize_mask, select_masks


@pytest.fixture
def published(golden):
    return np.load(golden / "u2seg_crf.npz")


def test_kept_masks_equal_the_first_implementation(published):
    masks, refined = (torch.from_numpy(published[key]).bool() for key in ("masks", "crf"))
    selected = select_masks(masks, refined)
    expected = published["filled"].astype(bool) & published["kept"][:, None, None]
    np.testing.assert_array_equal(selected.numpy(), expected)
    ious = refined_iou(masks, torch.from_numpy(published["filled"]).bool())
    np.testing.assert_allclose(ious.numpy(), np.nan_to_num(published["iou"]), rtol=1e-6)


def test_resized_masks_equal_the_first_implementation(published):
    filled = published["filled"].astype(bool) & published["kept"][:, None, None]
    resized = np.stack([resize_mask(mask, (171, 213)) for mask in filled])
    np.testing.assert_array_equal(resized, published["resized_213x171"])


def test_a_mask_that_changes_too_much_is_dropped_and_the_limit_itself_is_kept():
    before = torch.zeros(2, 4, 4, dtype=torch.bool)
    before[:, :2] = True
    after = before.clone()
    after[0, 1] = False  # IoU 1/2
    after[1, 1] = after[1, 0, 0] = False
    assert select_masks(before, after).flatten(1).sum(1).tolist() == [4, 0]
    assert select_masks(before[:0], after[:0]).shape == (0, 4, 4)
