"""The cascade by hand: what its stages learn, and how boxes and scores go through them."""

import math

import pytest
import torch
from torch import nn

from segtricks.heads.cascade import CascadeHeads, share_of_gradient


class _Said(nn.Module):
    """Scores of two classes and corrections that are always the same."""

    def __init__(self, score, corrections):
        super().__init__()
        self.score, self.corrections = score, corrections

    def forward(self, pooled):
        count = len(pooled)
        return torch.tensor([[0.0, self.score]]).repeat(count, 1), torch.tensor([self.corrections]).repeat(count, 2)


@pytest.fixture
def heads():
    """Three stages that move boxes of any features to the right, then widen them, then do nothing."""
    stages = [_Said(0.0, [1.0, 0, 0, 0]), _Said(2.0, [0, 0, 10 * math.log(2), 0]), _Said(4.0, [0.0, 0, 0, 0])]
    return CascadeHeads(
        box_roi_pool=lambda features, boxes, shapes: torch.cat(boxes),
        box_head=nn.ModuleList(nn.Identity() for _ in range(3)),
        box_predictor=nn.ModuleList(stages),
        fg_iou_thresh=0.5,
        bg_iou_thresh=0.5,
        batch_size_per_image=8,
        positive_fraction=0.25,
        bbox_reg_weights=None,
        score_thresh=0.05,
        nms_thresh=0.5,
        detections_per_img=5,
        mask_roi_pool=lambda features, boxes, shapes: torch.cat(boxes),
        mask_head=nn.Identity(),
        mask_predictor=lambda pooled: torch.zeros(len(pooled), 2, 28, 28),
    )


def test_boxes_are_corrected_stage_by_stage_and_scores_are_the_mean_of_their_probabilities(heads):
    proposals = [torch.tensor([[10.0, 10, 30, 30]])]
    (found,), losses = heads.eval()({}, proposals, [(100, 100)])
    # A tenth of the width to the right, then twice as wide around the middle at 22.
    torch.testing.assert_close(found["boxes"], torch.tensor([[2.0, 10, 42, 30]]))
    mean = sum(1 / (1 + math.exp(-score)) for score in (0.0, 2.0, 4.0)) / 3
    torch.testing.assert_close(found["scores"], torch.tensor([mean]))
    assert found["labels"].tolist() == [1] and found["masks"].shape == (1, 1, 28, 28) and losses == {}


def test_boxes_stay_within_the_image(heads):
    (moved,) = heads.correct(0, torch.tensor([[10.0, 0, 0, 0]]), [torch.tensor([[10.0, 10, 30, 30]])], [(100, 40)])
    assert moved.tolist() == [[30, 10, 40, 30]]


@pytest.mark.parametrize(("width", "inside"), [(5.4, [0, 0, 0]), (5.5, [4, 0, 0]), (6.5, [4, 4, 0]), (7.5, [4, 4, 4])])
def test_later_stages_want_better_boxes(heads, width, inside):
    """A box as high as an object that is 10 wide has an IoU of its share of the width."""
    target = {"boxes": torch.tensor([[0.0, 0, 10, 10]]), "labels": torch.tensor([4])}
    boxes = torch.tensor([[0.0, 0, width - 0.5, 10]])
    expected = [4 if (width - 0.5) / 10 >= least else 0 for least in (0.5, 0.6, 0.7)]
    assert expected == inside
    for stage, (weight, label) in enumerate(zip((10, 20, 30), inside, strict=True)):
        labels, corrections = heads.match(stage, boxes, target)
        assert labels.tolist() == [label]
        shift = weight * (5 - (width - 0.5) / 2) / (width - 0.5)
        wider = weight / 2 * math.log(10 / (width - 0.5))
        torch.testing.assert_close(corrections, torch.tensor([[shift, 0, wider, 0]]))


def test_an_image_without_objects_teaches_background(heads):
    target = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    assert heads.match(1, torch.rand(3, 4), target).labels.tolist() == [0, 0, 0]


def test_values_pass_on_a_share_of_their_gradient():
    values = torch.rand(4, requires_grad=True)
    passed = share_of_gradient(values, 1 / 3)
    torch.testing.assert_close(passed, values)
    passed.sum().backward()
    torch.testing.assert_close(values.grad, torch.full((4,), 1 / 3))
