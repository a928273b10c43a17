import json

import numpy as np
import pytest
import torch

from segtricks.cli import main
from segtricks.data import COCO17PanopticVal, open_dataset
from segtricks.data.datasets.coco17_panoptic import stuff_numbers
from segtricks.errors import UserError

from . import layouts

pytestmark = pytest.mark.filterwarnings("ignore:.*were published:UserWarning")

GROUPS = {
    "textile": (92, 93, 109, 141, 168, 200),
    "building": (95, 128, 151, 166, 197),
    "raw-material": (100, 195),
    "furniture-stuff": (107, 112, 130, 133, 156, 161, 188, 189),
    "floor": (118, 190),
    "plant": (119, 184, 193),
    "food-stuff": (122, 196),
    "ground": (125, 144, 145, 147, 149, 154, 159, 191, 194),
    "structural": (138, 185),
    "water": (148, 155, 178),
    "wall": (171, 175, 176, 177, 199),
    "window": (180, 181),
    "ceiling": (186,),
    "sky": (187,),
    "solid": (192, 198),
}
"""The 53 kinds of stuff in COCO's panoptic categories."""


def _categories():
    stuff = [(number, name) for name, numbers in GROUPS.items() for number in numbers]
    return [{"id": number, "supercategory": name, "isthing": 0} for number, name in reversed(stuff)]


def test_stuff_is_joined_as_published(golden):
    """The golden values count the 53 kinds from 1 in the order of their ids."""
    values = np.load(golden / "u2seg_matching.npz")
    numbers = stuff_numbers([*_categories(), {"id": 1, "supercategory": "person", "isthing": 1}])
    assert len(numbers) == 53
    table = np.zeros(256, np.uint8)
    table[1:54] = [numbers[number] for number in sorted(numbers)]
    table[255] = 255
    np.testing.assert_array_equal(table[values["stuff_gt_53"]], values["stuff_gt_15"])


def test_a_map_of_three_bytes_becomes_things_and_stuff(tmp_path):
    drawn = layouts.scenes()
    dataset = open_dataset("coco17-panoptic-val", layouts.coco17_panoptic(tmp_path)).with_targets("panoptic")
    place = sorted(layouts.stems(3)).index(layouts.stems(3)[0])
    found, semantic, segments = dataset[place]["target"]
    expected = drawn.read_panoptic(0)
    seen = expected.instances.masks.clone()
    seen[:, :, :10] = False
    kept = seen.flatten(1).any(dim=1)
    assert torch.equal(found.masks, seen[kept])
    assert found.labels.tolist() == [layouts.THINGS[label - 1] for label in expected.instances.labels[kept].tolist()]
    assert found.crowd.tolist()[0] and not any(found.crowd.tolist()[1:])
    # By their first appearance: ground is 1, water 2, plant 3; grass, water and sand are drawn.
    table = torch.tensor([0, 3, 2, 1])
    assert torch.equal(semantic[..., 10:], table[expected.semantic][..., 10:])
    assert (semantic[..., :10] == 255).all()
    upper, lower = (segments[0][rows][semantic[0][rows] > 0] for rows in (slice(0, 32), slice(32, 64)))
    assert not set(upper.unique().tolist()) & set(lower[lower > 0].unique().tolist())


def test_as_masks_they_are_all_things_without_crowds(tmp_path):
    dataset = COCO17PanopticVal(layouts.coco17_panoptic(tmp_path))
    place = sorted(layouts.stems(3)).index(layouts.stems(3)[0])
    expected = layouts.scenes().read_instances(0).masks[1:].any(dim=0)
    expected[:, :10] = False
    assert torch.equal(dataset[place]["target"][0] == 255, expected)


def test_a_segment_that_the_file_does_not_list_is_a_fault(tmp_path, capsys):
    root = layouts.coco17_panoptic(tmp_path)
    assert main(["data", "verify", "coco17-panoptic-val", "--root", str(root)]) == 0
    assert "3 of 3 pairs are sound" in capsys.readouterr().out
    path = root / "coco/annotations/panoptic_val2017.json"
    content = json.loads(path.read_text())
    lost = content["annotations"][1]["segments_info"].pop()["id"]
    path.write_text(json.dumps(content))
    assert main(["data", "verify", "coco17-panoptic-val", "--root", str(root)]) == 1
    assert f"holds the segment {lost}, which its JSON file lacks" in capsys.readouterr().out


def test_what_is_missing_is_named(tmp_path):
    root = layouts.coco17_panoptic(tmp_path)
    name = layouts.stems(3)[0]
    (root / f"coco/annotations/panoptic_val2017/{name}.png").unlink()
    with pytest.raises(UserError, match=rf"(?s)no map of 1 of its images.*{name}.*data download coco17-panoptic-val"):
        COCO17PanopticVal(root)
    path = root / "coco/annotations/panoptic_val2017.json"
    path.write_text(path.read_text().replace('"category_id": 1,', '"category_id": 7,'))
    with pytest.raises(UserError, match="category 7, which it does not list"):
        COCO17PanopticVal(root)
    assert len(COCO17PanopticVal(root, require_masks=False)) == 3
