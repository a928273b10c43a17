import json
import xml.etree.ElementTree as ET

import numpy as np
import pytest
import torch

from segtricks.data import read_mask
from segtricks.metrics import CorLoc, mask_box


def _brute_force(mask, boxes, select):
    """Flood fill, pixel sets and an IoU counted in pixels."""
    left, components = {tuple(place) for place in np.argwhere(mask > 0.5)}, []
    for start in np.argwhere(mask > 0.5).tolist():
        if tuple(start) in left:
            left.remove(tuple(start))
            stack, members = [tuple(start)], []
            while stack:
                y, x = stack.pop()
                members.append((y, x))
                for near in ((y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)):
                    if near in left:
                        left.remove(near)
                        stack.append(near)
            components.append(np.array(members))
    if not components:
        return False
    spans = [(c[:, 1].min(), c[:, 0].min(), c[:, 1].max() + 1, c[:, 0].max() + 1) for c in components]
    if select == "seed":
        seed = tuple(int(i) for i in np.unravel_index(mask.argmax(), mask.shape))
        index = next(i for i, c in enumerate(components) if seed in set(map(tuple, c.tolist())))
    elif select == "largest_area":
        index = max(range(len(spans)), key=lambda i: (len(components[i]), -i))
    else:
        index = max(range(len(spans)), key=lambda i: ((spans[i][2] - spans[i][0]) * (spans[i][3] - spans[i][1]), -i))
    x0, y0, x1, y1 = spans[index]
    for bx0, by0, bx1, by1 in boxes:
        w, h = min(x1, bx1) - max(x0, bx0), min(y1, by1) - max(y0, by0)
        inter = max(w, 0) * max(h, 0)
        if inter / ((x1 - x0) * (y1 - y0) + (bx1 - bx0) * (by1 - by0) - inter) >= 0.5:
            return True
    return False


def _check(cases, select):
    score = CorLoc(select)
    for mask, boxes in cases:
        score.update(torch.from_numpy(mask)[None, None], [torch.tensor(boxes).reshape(-1, 4)])
    expected = [_brute_force(mask, boxes, select) for mask, boxes in cases]
    assert (int(score.hits), int(score.images)) == (sum(expected), len(cases))
    return sum(expected)


@pytest.mark.parametrize("select", ["largest_bbox", "largest_area", "seed"])
def test_random_masks_of_several_components_equal_brute_force(select):
    rng, cases = np.random.default_rng(0), []
    for _ in range(60):
        height, width = rng.integers(6, 30, 2)
        mask = (rng.random((height, width)) * rng.choice([0.4, 0.55, 0.8])).astype(np.float32)
        y, x = rng.integers(0, height // 2), rng.integers(0, width // 2)
        mask[y : y + height // 2, x : x + width // 2] += 0.2
        cases.append((mask, [[int(x), int(y), int(x + width // 2), int(y + height // 2)]]))
    assert 0 < _check(cases, select) < len(cases)


@pytest.mark.parametrize("select", ["largest_bbox", "largest_area"])
def test_voc_objects_as_masks_equal_brute_force(photographs, select):
    cases = []
    root = photographs / "VOCdevkit" / "VOC2012"
    for path in sorted((root / "SegmentationClass").iterdir())[:12]:
        objects = ET.parse(root / "Annotations" / f"{path.stem}.xml").getroot().findall("object")
        corners = [[int(float(o.findtext(f"bndbox/{s}"))) for s in ("xmin", "ymin", "xmax", "ymax")] for o in objects]
        mask = (read_mask(path)[0].numpy() > 0).astype(np.float32)
        cases.append((mask, [[x0 - 1, y0 - 1, x1, y1] for x0, y0, x1, y1 in corners]))
    assert _check(cases, select) > 6


def test_coco_boxes_as_masks_equal_brute_force_without_crowds(photographs):
    (file,) = (photographs / "coco" / "annotations").glob("*.json")
    content, cases = json.loads(file.read_text()), []
    for image in content["images"][:12]:
        boxes = [a["bbox"] for a in content["annotations"] if a["image_id"] == image["id"] and not a["iscrowd"]]
        mask = np.zeros((image["height"], image["width"]), np.float32)
        for x, y, w, h in boxes[:3]:
            mask[int(y) : int(y + h), int(x) : int(x + w)] = 1
        cases.append((mask, [[x, y, x + w, y + h] for x, y, w, h in boxes]))
    assert _check(cases, "largest_bbox") > 5


def test_rules_choose_different_components():
    mask = torch.zeros(1, 12, 12)
    mask[0, 0:5, 0:5] = 0.8  # 25 pixels
    mask[0, 6, 0:12] = mask[0, 6:12, 11] = 0.7  # an angle: 17 pixels in the largest box
    mask[0, 9, 2] = 0.9  # the peak
    assert mask_box(mask, "largest_area").tolist() == [0, 0, 5, 5]
    assert mask_box(mask, "largest_bbox").tolist() == [0, 6, 12, 12]
    assert mask_box(mask, "seed").tolist() == [2, 9, 3, 10]
    assert mask_box(mask, "seed", seed=(1, 1)).tolist() == [0, 0, 5, 5]


def test_iou_of_exactly_one_half_is_a_hit_and_less_is_not():
    mask = torch.zeros(1, 1, 10, 20)
    mask[..., :10] = 1
    score = CorLoc()
    score.update(mask, [torch.tensor([[0, 0, 20, 10]])])
    assert score.compute() == 1
    score.update(mask[..., :9].repeat(1, 1, 1, 2), [torch.tensor([[0, 0, 19, 10]])])
    assert score.hits == 2  # 180 of 190
    score.update(mask, [torch.tensor([[0, 0, 20, 11]])])
    assert score.hits == 2


def test_empty_mask_and_image_without_boxes_are_misses():
    score = CorLoc()
    score.update(torch.zeros(1, 1, 4, 4), [torch.tensor([[0, 0, 4, 4]])])
    score.update(torch.ones(1, 1, 4, 4), [torch.zeros(0, 4)])
    assert (int(score.hits), int(score.images)) == (0, 2)


def test_any_of_several_boxes_counts_and_sizes_may_differ():
    score = CorLoc()
    boxes = [torch.tensor([[0, 0, 1, 1], [0, 0, 4, 4]]), torch.tensor([[0, 0, 3, 2]])]
    score.update([torch.ones(1, 4, 4), torch.ones(1, 2, 3)], boxes)
    assert score.compute() == 1


@pytest.mark.parametrize(
    ("masks", "boxes"),
    [
        (torch.ones(2, 1, 2, 2), [torch.ones(1, 4)]),
        (torch.ones(1, 1, 2, 2), [torch.ones(1, 5)]),
        ([torch.ones(2, 2)], [torch.ones(1, 4)]),
    ],
)
def test_wrong_shapes_are_refused(masks, boxes):
    with pytest.raises(ValueError, match=r"mask|boxes"):
        CorLoc().update(masks, boxes)


def test_unknown_rule_is_refused():
    with pytest.raises(ValueError, match="largest_bbox, largest_area, seed"):
        CorLoc("biggest")
