"""AP by class against pycocotools, and panoptic quality without any matching of clusters."""

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from segtricks.data.datasets.scenes import DrawnScenes
from segtricks.data.sample import Instances, Panoptic
from segtricks.pseudo_labels.merge import PanopticPrediction, merge_panoptic
from segtricks.scoring.classed import ClassedEvaluator
from segtricks.scoring.evaluator import Target

SIDE, LAST = 40, 9


def _objects(rng, count):
    masks = torch.zeros(count, SIDE, SIDE, dtype=torch.bool)
    for mask in masks:
        top, left = rng.integers(0, SIDE - 12, 2)
        height, width = rng.choice([6, 8, 10], 2)  # moved by a pixel, no IoU is exactly a threshold of AP
        mask[top : top + height, left : left + width] = True
    return Instances(masks, torch.tensor(rng.choice([2, 5, LAST], count)), torch.tensor(rng.random(count)).float())


def _found(rng, truth):
    """Some of the objects, moved by a pixel, some with another class, and two that are not there."""
    kept = torch.tensor(rng.random(len(truth.masks)) < 0.8)
    moved = truth.select(kept)
    labels = torch.where(torch.tensor(rng.random(len(moved.labels)) < 0.3), 5, moved.labels)
    extra = _objects(rng, 2)
    scores = torch.tensor(rng.random(len(labels) + 2)).float()
    masks = torch.cat([moved.masks.roll(1, dims=2), extra.masks])
    return Instances(masks, torch.cat([labels, extra.labels]), scores)


def _annotations(instances, image):
    for mask, label, score in zip(
        instances.masks.numpy(), instances.labels.tolist(), instances.scores.tolist(), strict=True
    ):
        code = coco_mask.encode(np.asfortranarray(mask, np.uint8))
        item = {"image_id": image, "category_id": label, "segmentation": code, "bbox": list(coco_mask.toBbox(code))}
        yield item | {"area": float(mask.sum()), "iscrowd": 0, "score": score}


def _by_pycocotools(pairs, kind):
    truth = COCO()
    items = [item for image, (one, _) in enumerate(pairs) for item in _annotations(one, image)]
    truth.dataset = {"images": [{"id": i, "height": SIDE, "width": SIDE} for i in range(len(pairs))]}
    truth.dataset["annotations"] = [item | {"id": number} for number, item in enumerate(items, start=1)]
    truth.dataset["categories"] = [{"id": number} for number in (2, 5, LAST)]
    truth.createIndex()
    found = truth.loadRes([item for image, (_, one) in enumerate(pairs) for item in _annotations(one, image)])
    evaluation = COCOeval(truth, found, kind)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats[:2].tolist()


def test_ap_by_class_is_that_of_pycocotools():
    rng = np.random.default_rng(0)
    truths = [_objects(rng, count) for count in (4, 3, 6, 5)]
    pairs = [(truth, _found(rng, truth)) for truth in truths]
    evaluator = ClassedEvaluator("drawn", LAST, 0)
    nothing = torch.full((1, SIDE, SIDE), 255)
    for number, (truth, found) in enumerate(pairs):
        panoptic = merge_panoptic(found.masks, found.labels, nothing[0] - 256, num_things=LAST)
        prediction = PanopticPrediction(found, panoptic, LAST)
        evaluator.add(Target(str(number), panoptic=Panoptic(truth, nothing)), {"mask": prediction})
    figures = evaluator.result().rows["mask"].metrics
    for name, kind in {"box": "bbox", "mask": "segm"}.items():
        measured = [figures[f"class_{name}_ap"], figures[f"class_{name}_ap50"]]
        assert measured == pytest.approx(_by_pycocotools(pairs, kind), abs=1e-4)
    assert figures["mask_ap"] > figures["class_mask_ap"], "without classes, none is wrong"


def test_things_are_taken_by_their_ids_in_panoptic_quality():
    scenes = DrawnScenes(4, 64)
    for names, expected in (([1, 2, 3], 1.0), ([2, 3, 1], 0.0)):
        evaluator = ClassedEvaluator("scenes", 3, 3)
        for index in range(len(scenes)):
            truth = scenes.read_panoptic(index)
            labels = torch.tensor(names)[truth.instances.labels - 1]
            stuff = torch.tensor([0, 3, 1, 2])[truth.semantic][0]
            panoptic = merge_panoptic(truth.instances.masks, labels, stuff - 1, num_things=3, max_covered=1)
            prediction = PanopticPrediction(truth.instances._replace(labels=labels), panoptic, 3)
            evaluator.add(Target(str(index), panoptic=truth), {"mask": prediction})
        figures = evaluator.result().rows["mask"].metrics
        assert (figures["pq_things"], figures["pq_stuff"]) == (expected, 1.0)


def test_a_thing_of_a_class_that_no_truth_has_counts_as_wrong():
    """By hand, as in panopticapi: the mean over classes with a true or predicted segment, 1 and 0."""
    masks = torch.zeros(2, SIDE, SIDE, dtype=torch.bool)
    masks[0, :10, :10] = masks[1, 20:, 20:] = True
    found = Instances(masks, torch.tensor([1, 2]), torch.ones(2))
    stuff = torch.where(masks[0], 0, 1)[None]
    panoptic = merge_panoptic(masks, found.labels, stuff[0] - 1, num_things=3)
    evaluator = ClassedEvaluator("drawn", 3, 1)
    truth = Panoptic(found.select(torch.tensor([True, False])), stuff)
    evaluator.add(Target("0", panoptic=truth), {"mask": PanopticPrediction(found, panoptic, 3)})
    row = evaluator.result().rows["mask"]
    share = 1 - masks[1].sum() / stuff.sum()
    assert row.metrics["pq_things"] == 0.5
    assert row.metrics["pq"] == pytest.approx((1 + 0 + share) / 3)
    assert row.per_class["pq"] == [1, pytest.approx(share)], "of the classes of the truth"
