"""Class-agnostic AP against COCOeval's figures."""

import json
from collections import defaultdict

import pytest
import torch
from pycocotools import mask as coco

from segtricks.metrics import ClassAgnosticAP


def _item(annotations, kind, *keys):
    boxes = torch.tensor([item["bbox"] for item in annotations]).view(-1, 4)
    found = {"boxes": torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], dim=1)}
    if kind == "segm":
        masks = [torch.from_numpy(coco.decode(item["segmentation"])).bool() for item in annotations]
        found = {"masks": torch.stack(masks) if masks else torch.zeros(0, 480, 640, dtype=torch.bool)}
    return found | {key: torch.tensor([item[key] for item in annotations]) for key in keys}


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_equals_cocoeval_with_crowds(golden, kind):
    content = json.loads((golden / "u2seg_ap.json").read_text())
    truth, found = defaultdict(list), defaultdict(list)
    for item in content["annotations"]:
        truth[item["image_id"]].append(item)
    for item in content["predictions"]:
        found[item["image_id"]].append(item)
    metric = ClassAgnosticAP(kind)
    for image in content["images"]:
        pred = _item(found[image["id"]], kind)
        scores = torch.tensor([item["score"] for item in found[image["id"]]])
        metric.update([pred | {"scores": scores}], [_item(truth[image["id"]], kind, "iscrowd", "area")])
    scores = {key: float(value) for key, value in metric.compute().items()}
    expected = {key: content["results"][kind][key] for key in scores}
    assert scores == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_no_detection_at_all_scores_zero(kind):
    metric = ClassAgnosticAP(kind)
    masks = torch.ones(1, 10, 10, dtype=torch.bool)
    nothing = {"boxes": torch.zeros(0, 4), "masks": masks[:0], "scores": torch.zeros(0)}
    metric.update([nothing], [{"boxes": torch.tensor([[0.0, 0, 10, 10]]), "masks": masks}])
    scores = metric.compute()
    assert scores["ap"] == scores["ap50"] == scores["ar100"] == 0


def test_a_size_without_objects_has_no_score_and_another_kind_is_refused():
    metric = ClassAgnosticAP()
    box = torch.tensor([[0.0, 0, 10, 10]])
    metric.update([{"boxes": box, "scores": torch.ones(1)}], [{"boxes": box}])
    scores = metric.compute()
    assert float(scores["ap_small"]) == pytest.approx(1)
    assert scores["ap_large"].isnan()
    with pytest.raises(ValueError, match="bbox or segm"):
        ClassAgnosticAP("mask")
