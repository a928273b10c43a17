"""Panoptic-FPN: its targets, its semantic loss, images of any size, DropLoss, and weights of a ResNet."""

import pytest
import torch
from torch.nn.functional import cross_entropy
from torchvision.models import resnet18

from segtricks.data.sample import Instances
from segtricks.errors import UserError
from segtricks.heads.panoptic_fpn import (
    NetworkSize,
    PanopticFPN,
    SemanticHead,
    _near,
    _target,
    semantic_loss,
)

TINY = NetworkSize(18, 32, 32, 16, anchor=8, level_proposals=20, proposals=20, samples=16, detections=5)


def _instances(*boxes, size=(64, 64)):
    masks = torch.zeros(len(boxes), *size, dtype=torch.bool)
    for mask, (left, top, right, bottom) in zip(masks, boxes, strict=True):
        mask[top:bottom, left:right] = True
    return Instances(masks, torch.ones(len(boxes), dtype=torch.int64), torch.ones(len(boxes)))


def test_boxes_end_after_the_last_pixel():
    assert _target(_instances((3, 4, 10, 5)))["boxes"].tolist() == [[3, 4, 10, 5]]
    assert _target(_instances())["boxes"].shape == (0, 4)


def test_the_semantic_loss_is_a_mean_over_known_pixels_and_zero_without_any():
    logits, target = torch.randn(2, 4, 6, 6), torch.randint(4, (2, 6, 6))
    target[0, :3] = 255
    torch.testing.assert_close(semantic_loss(logits, target), cross_entropy(logits, target, ignore_index=255))
    assert semantic_loss(logits, torch.full_like(target, 255)) == 0


def test_the_semantic_head_brings_all_levels_to_the_size_of_the_image():
    head = SemanticHead(32, 32, 5)
    levels = [torch.randn(1, 32, 16 // 2**level, 24 // 2**level) for level in range(4)]
    assert head(levels).shape == (1, 5, 64, 96)
    ups = [sum(isinstance(part, torch.nn.Upsample) for part in level) for level in head.levels]
    assert ups == [0, 1, 2, 3]


@pytest.mark.parametrize("cascade", [False, True])
def test_every_part_learns_and_an_image_without_instances_is_allowed(cascade):
    torch.manual_seed(0)
    network = PanopticFPN(3, 2, TINY, cascade=cascade)
    instances = [_instances((8, 8, 40, 40)), _instances()]
    losses = network.losses(torch.randn(2, 3, 64, 64), instances, torch.ones(2, 64, 64, dtype=torch.int64))
    assert all(term > 0 for term in losses)
    torch.testing.assert_close(losses.total, torch.stack(losses[1:]).sum())
    losses.total.backward()
    assert [name for name, part in network.named_parameters() if part.grad is None] == []


def test_shared_boxes_are_corrected_alike_whatever_the_class():
    torch.manual_seed(0)
    predictor = PanopticFPN(3, 2, TINY, shared_boxes=True).objects.box_predictor
    scores, corrections = predictor(torch.randn(5, 16))
    assert scores.shape == (5, 4) and sum(part.numel() for part in predictor.bbox_pred.parameters()) == 4 * 16 + 4
    shared = corrections.reshape(5, 4, 4)  # as torchvision's loss and boxes read it: by class
    assert torch.equal(shared, shared[:, :1].expand(5, 4, 4)) and len(shared[:, 0].unique(dim=0)) == 5


@pytest.mark.parametrize("cascade", [False, True])
def test_losses_leave_eval_mode_and_are_finite_without_any_instance(cascade):
    network = PanopticFPN(3, 2, TINY, drop_loss=True, cascade=cascade).eval()
    with torch.no_grad():
        losses = network.losses(torch.randn(1, 3, 64, 64), [_instances()], torch.full((1, 64, 64), 255))
    assert torch.stack(losses).isfinite().all()
    assert not any(part.training for part in network.modules())


@pytest.mark.parametrize("cascade", [False, True])
def test_images_of_any_size_give_detections_within_them_and_logits_of_their_size(cascade):
    torch.manual_seed(0)
    network = PanopticFPN(3, 2, TINY, cascade=cascade).eval()
    with torch.no_grad():
        (found,), logits = network(torch.randn(1, 3, 40, 70))
    assert logits.shape == (1, 3, 40, 70)
    assert 0 < len(found.boxes) <= 5
    assert (found.boxes[:, 2:] <= torch.tensor([70, 40])).all()
    assert set(found.labels.tolist()) <= {1, 2, 3}


def test_boxes_are_exact_to_the_pixel_in_mixed_precision():
    torch.manual_seed(0)
    network = PanopticFPN(3, 2, TINY).eval()
    images = torch.randn(1, 3, 40, 70)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        (found,), logits = network(images)
    assert found.boxes.dtype == found.scores.dtype == found.masks.dtype == logits.dtype == torch.float32


def test_drop_loss_spares_what_is_near_no_instance_of_its_image():
    boxes = torch.tensor([[0.0, 0, 10, 10], [40, 40, 50, 50]])
    assert _near(boxes, boxes[:1] + 2).tolist() == [True, False]
    assert _near(boxes, boxes[:0]).tolist() == [True, True]


def test_weights_of_a_resnet_are_loaded_and_misfits_refused(tmp_path):
    file = tmp_path / "resnet18.pth"
    torch.manual_seed(1)
    state = resnet18().state_dict()
    torch.save(state, file)
    for norm in ("batch", "frozen_batch"):
        body = PanopticFPN(3, 2, TINY, norm, str(file)).pyramid.body
        torch.testing.assert_close(body.layer4[1].conv2.weight, state["layer4.1.conv2.weight"])
    with pytest.raises(UserError, match="does not fit"):
        PanopticFPN(3, 2, TINY, "group", str(file))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_things": 0}, "at least 1"),
        ({"norm": "layer"}, "pass group, batch"),
        ({"norm": "frozen_batch"}, "without weights"),
        ({"size": NetworkSize(18, 40)}, "multiples of 32"),
        ({"size": NetworkSize(18, samples=0)}, "at least 1"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        PanopticFPN(**{"num_things": 3, "num_stuff": 2} | options)
