"""Votes of clusters against those of the published code."""

import numpy as np
import pytest
import torch

from segtricks.metrics import SemanticIoU, box_votes, match_clusters, stuff_votes


@pytest.fixture
def values(golden):
    return np.load(golden / "u2seg_matching.npz")


def _corners(boxes):
    return torch.from_numpy(np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1))


def test_votes_of_boxes_and_their_mappings_equal_the_published_code(values):
    size = {"num_clusters": int(values["inst_num_clusters"]), "num_classes": int(values["inst_num_classes"])}
    votes = torch.zeros(size["num_clusters"], size["num_classes"], dtype=torch.int64)
    for image in np.unique(values["inst_gt_image"]):
        ours, theirs = values["inst_pred_image"] == image, values["inst_gt_image"] == image
        votes += box_votes(
            _corners(values["inst_pred_boxes_xywh"][ours]),
            torch.from_numpy(values["inst_pred_clusters"][ours]),
            torch.from_numpy(values["inst_pred_scores"][ours]),
            _corners(values["inst_gt_boxes_xywh"][theirs]),
            torch.from_numpy(values["inst_gt_classes"][theirs]),
            **size,
        )
    np.testing.assert_array_equal(votes, values["inst_votes"])
    np.testing.assert_array_equal(match_clusters(votes, "majority", "count"), values["inst_majority"])
    np.testing.assert_array_equal(match_clusters(votes, "hungarian", "count"), values["inst_hungarian"])


def test_votes_of_stuff_and_the_strict_score_equal_the_published_code(values):
    pred = torch.from_numpy(values["stuff_pred"]).long()
    target = torch.from_numpy(values["stuff_gt_15"]).long()
    votes = torch.zeros(27, 15, dtype=torch.int64)
    for one, truth in zip(pred - 1, target, strict=True):
        votes += stuff_votes(one, torch.where(truth == 255, -1, truth - 1), num_clusters=27, num_classes=15)
    mapping = match_clusters(votes, "majority", "count") + 1
    table = torch.cat([torch.zeros(1, dtype=torch.int64), torch.where(mapping > 0, mapping, 255)])
    expected = torch.from_numpy(values["stuff_majority"])
    np.testing.assert_array_equal(table, torch.where((expected < 0) | (expected > 15), 255, expected))
    metric = SemanticIoU(16)
    metric.update(table[pred], target)
    assert float(metric.compute()["miou_present"]) == pytest.approx(float(values["stuff_strict_miou"]), abs=1e-6)


def test_an_image_without_detections_has_no_votes():
    nothing = torch.zeros(0)
    votes = box_votes(
        torch.zeros(0, 4), nothing, nothing, torch.rand(2, 4), torch.ones(2), num_clusters=3, num_classes=2
    )
    assert votes.tolist() == [[0, 0]] * 3
