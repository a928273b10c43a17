import numpy as np
import pytest
import torch

from segtricks.pseudo_labels import merge_panoptic, semantic_target


@pytest.mark.parametrize("image", [0, 1, 3])
@pytest.mark.parametrize("given", [True, False])
def test_merged_map_and_target_equal_the_first_implementation(golden, image, given):
    arrays = np.load(golden / "u2seg_panoptic_merge.npz")
    masks = torch.from_numpy(np.unpackbits(arrays[f"masks_{image}"], axis=-1)).bool()
    labels, semantic = torch.from_numpy(arrays[f"labels_{image}"]), torch.from_numpy(arrays["semantic"][image])
    boxes = torch.from_numpy(arrays[f"boxes_xywh_{image}"])
    boxes[:, 2:] += boxes[:, :2]
    ours = merge_panoptic(masks, labels, semantic, num_things=12, boxes=boxes if given else None)
    assert ours.categories.tolist() == arrays[f"segment_categories_{image}"].tolist()
    ids = np.concatenate([[0], arrays[f"segment_ids_{image}"]])
    np.testing.assert_array_equal(ids[ours.segments.numpy()], arrays[f"panoptic_{image}"])
    target = semantic_target(ours, num_things=12)
    np.testing.assert_array_equal(target.numpy(), arrays[f"semantic_target_{image}"])


def test_stuff_that_is_covered_by_exactly_the_limit_stays():
    masks = torch.zeros(1, 10, 10, dtype=torch.bool)
    masks[0, :7] = True
    semantic = torch.zeros(10, 10, dtype=torch.int64)
    assert merge_panoptic(masks, torch.tensor([1]), semantic, num_things=3).categories.tolist() == [1, 4]
    masks[0, 7, 0] = True
    merged = merge_panoptic(masks, torch.tensor([1]), semantic, num_things=3)
    assert merged.categories.tolist() == [1]
    assert semantic_target(merged, num_things=3)[9, 9] == 255


def test_a_photograph_without_instances_is_its_stuff():
    semantic = torch.tensor([[0, 0, 2], [-1, 0, 2]])
    merged = merge_panoptic(torch.zeros(0, 2, 3).bool(), torch.zeros(0).long(), semantic, num_things=5)
    assert merged.segments.tolist() == [[1, 1, 2], [0, 1, 2]] and merged.categories.tolist() == [6, 8]
