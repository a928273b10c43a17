"""The panoptic map of detections and a semantic map, against detectron2's."""

import numpy as np
import pytest
import torch

from segtricks.heads import combine_panoptic


@pytest.mark.parametrize("number", range(3))
def test_equals_the_published_code(golden, number):
    values = {
        key.removesuffix(f"_{number}"): value
        for key, value in np.load(golden / "u2seg_combine.npz").items()
        if key.endswith(f"_{number}")
    }
    masks = torch.from_numpy(np.unpackbits(values["masks"], axis=-1)).bool()
    semantic = torch.from_numpy(values["semantic"]).long()
    found = combine_panoptic(
        masks,
        torch.from_numpy(values["scores"]),
        torch.from_numpy(values["labels"]),
        semantic,
        min_stuff_area=int(values["min_stuff_area"]),
    )
    np.testing.assert_array_equal(found.segments, values["panoptic"])
    rows = [found.is_thing.long(), found.categories]
    np.testing.assert_array_equal(torch.stack(rows, dim=1), values["segments"][:, 1:3])


def test_without_detections_and_stuff_all_is_void():
    found = combine_panoptic(torch.zeros(0, 4, 4), torch.zeros(0), torch.zeros(0), torch.zeros(4, 4).long())
    assert not found.segments.any()
    assert found.categories.shape == found.is_thing.shape == (0,)
