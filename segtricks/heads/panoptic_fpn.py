"""Panoptic-FPN: instances by Mask R-CNN and a semantic map, from one feature pyramid."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate, pad
from torchvision.models import resnet
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import AnchorGenerator, RegionProposalNetwork, RPNHead
from torchvision.ops import FrozenBatchNorm2d, MultiScaleRoIAlign, box_iou, clip_boxes_to_image, masks_to_boxes

from segtricks.backbones.padding import pad_to_patches
from segtricks.backbones.weights import load_strictly, read_weights
from segtricks.data.sample import Instances
from segtricks.data.transforms import VOID
from segtricks.errors import UserError
from segtricks.heads.cascade import CascadeHeads, of_each_stage

STRIDE = 32
"""Images are padded to multiples of it."""

Norm = Literal["group", "batch", "frozen_batch"]

_LEVELS = ("0", "1", "2", "3")
_GROUPS = 32
_NEAR = 0.01


@dataclass(frozen=True)
class NetworkSize:
    """How large the network is; the default is the published one.

    Args:
        depth: layers of the ResNet.
        channels: of the pyramid, and of the mask head.
        semantic_channels: of the semantic head.
        hidden: width of the box head.
        anchor: side in pixels of the smallest anchors; each of the four levels above doubles it.
        level_proposals: of each level, before boxes that overlap are thinned out.
        proposals: of an image, after that.
        samples: proposals of an image that the heads learn from; the proposals learn from 256 anchors, or as many if
            this is less.
        detections: of an image, at most.
    """

    depth: Literal[18, 34, 50] = 50
    channels: int = 256
    semantic_channels: int = 128
    hidden: int = 1024
    anchor: int = 32
    level_proposals: int = 2000
    proposals: int = 4000
    samples: int = 512
    detections: int = 100


class PanopticLosses(NamedTuple):
    """The objective ``total`` and its terms, scalars."""

    total: Tensor
    objectness: Tensor
    proposals: Tensor
    classes: Tensor
    boxes: Tensor
    masks: Tensor
    semantic: Tensor


class Detections(NamedTuple):
    """Objects of one image.

    Args:
        boxes: (n, 4) x0, y0, x1, y1 in pixels.
        labels: (n,) from 1.
        scores: (n,) in [0, 1], the highest first.
        masks: (n, 1, 28, 28) probabilities within the boxes.
    """

    boxes: Tensor
    labels: Tensor
    scores: Tensor
    masks: Tensor


class PanopticFPN(nn.Module):
    """A ResNet with a feature pyramid, torchvision's Mask R-CNN on it, and a semantic head.

    The loss of boxes is smooth as in torchvision.

    Args:
        num_things: classes of instances, 1 to K.
        num_stuff: classes of stuff, 1 to S; 0 of the semantic map is any thing.
        size: of its parts.
        norm: normalisation of ResNet and pyramid: ``group`` does not depend on the batch, ``frozen_batch`` needs a
            ``checkpoint``.
        checkpoint: a file with the ResNet's weights in torchvision's names, such as DINO's; without, it starts at
            random.
        drop_loss: proposals that are near no instance of their image do not learn that they are background (CutLER's
            DropLoss, here by the proposal instead of its refined box); those of an image without instances do.
        shared_boxes: one box regression for all classes, in place of one for each.
        cascade: three box heads that correct boxes one after the other, as published, with shared boxes.

    Raises:
        UserError: an impossible size, or weights that do not fit.

    Source: Kirillov et al., "Panoptic Feature Pyramid Networks", CVPR 2019; Niu et al., "Unsupervised Universal Image
    Segmentation", CVPR 2024.
    """

    def __init__(
        self,
        num_things: int,
        num_stuff: int,
        size: NetworkSize = NetworkSize(),
        norm: Norm = "group",
        checkpoint: str | None = None,
        drop_loss: bool = False,
        shared_boxes: bool = False,
        cascade: bool = False,
    ) -> None:
        super().__init__()
        _check(num_things, num_stuff, size, norm, checkpoint)
        self.num_things, self.num_stuff, self.size = num_things, num_stuff, size
        self.pyramid = _pyramid(size, norm, checkpoint)
        self.proposer = _proposer(size)
        self.objects = _object_heads(num_things, size, drop_loss, shared_boxes, cascade)
        self.semantic = SemanticHead(size.channels, size.semantic_channels, num_stuff + 1)

    def losses(
        self, images: Tensor, instances: Sequence[Instances], semantic: Tensor, semantic_weight: float = 0.5
    ) -> PanopticLosses:
        """Return the losses; which anchors and proposals count is drawn from the global generator.

        Args:
            images: (B, 3, H, W), normalised.
            instances: of each image, n may be 0; labels from 1 to K.
            semantic: (B, H, W) int64, 0 for things, 1 to S for stuff, 255 where nothing is known.
            semantic_weight: of its loss; the others count as they are.
        """
        padded = pad_to_patches(images, STRIDE)
        features = self._features(padded)
        targets = [_target(each) for each in instances]
        whole = ImageList(padded, [_size(padded)] * len(padded))
        before = self.proposer.training, self.objects.training
        self.proposer.training = self.objects.training = True  # not their parts: losses without training, too
        with _exact(images):
            proposals, first = self.proposer(whole, features, targets)
            _, second = self.objects(features, proposals, whole.image_sizes, targets)
        self.proposer.training, self.objects.training = before
        logits = self.semantic([features[level] for level in _LEVELS])[..., : images.shape[-2], : images.shape[-1]]
        terms = {
            "objectness": first["loss_objectness"],
            "proposals": first["loss_rpn_box_reg"],
            "classes": second["loss_classifier"],
            "boxes": second["loss_box_reg"],
            "masks": second["loss_mask"],
            "semantic": semantic_weight * semantic_loss(logits, semantic),
        }
        return PanopticLosses(total=torch.stack(list(terms.values())).sum(), **terms)

    def forward(self, images: Tensor) -> tuple[list[Detections], Tensor]:
        """Normalised images (B, 3, H, W) to the objects of each, and logits (B, 1 + S, H, W) of things and stuff.

        In eval mode alone.
        """
        padded = pad_to_patches(images, STRIDE)
        features = self._features(padded)
        whole = ImageList(padded, [_size(padded)] * len(padded))
        with _exact(images):
            proposals, _ = self.proposer(whole, features)
            found, _ = self.objects(features, proposals, whole.image_sizes)
        logits = self.semantic([features[level] for level in _LEVELS])
        detections = [_within(each, _size(images)) for each in found]
        return detections, logits[..., : images.shape[-2], : images.shape[-1]].float()

    def _features(self, images: Tensor) -> dict[str, Tensor]:
        return {name: level.float() for name, level in self.pyramid(images).items()}


def _exact(images: Tensor) -> torch.autocast:
    # torchvision's boxes are of the dtype of their corrections, and bfloat16 knows one of four pixels at 800.
    return torch.autocast(images.device.type, enabled=False)


class SemanticHead(nn.Module):
    """Logits at the size of the image, from the levels of a pyramid at strides 4, 8, 16 and 32.

    Args:
        channels: of the levels.
        hidden: channels of its own.
        classes: of the map.
    """

    def __init__(self, channels: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList(_to_stride_4(channels, hidden, level) for level in range(len(_LEVELS)))
        self.predict = nn.Conv2d(hidden, classes, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Levels (B, channels, H / 4, W / 4) and smaller to (B, classes, H, W)."""
        maps = [level(each) for level, each in zip(self.levels, features, strict=True)]
        logits = self.predict(torch.stack(maps).sum(dim=0))
        return interpolate(logits, scale_factor=4, mode="bilinear")


def semantic_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return the mean cross-entropy of logits (B, C, H, W) where the target (B, H, W) is not 255, or 0."""
    total = cross_entropy(logits.float(), target, ignore_index=VOID, reduction="sum")
    return total / (target != VOID).sum().clamp_min(1)


class _DropLoss(RoIHeads):
    """Mask R-CNN's heads, with CutLER's DropLoss."""

    def select_training_samples(self, proposals: list[Tensor], targets: Any) -> Any:
        """Leave out the samples that are near no instance of their image."""
        samples = super().select_training_samples(proposals, targets)
        kept = [_near(boxes, target["boxes"]) for boxes, target in zip(samples[0], targets, strict=True)]
        return tuple(_of_each(part, kept) for part in samples)


def _of_each(part: list[Tensor], kept: list[Tensor]) -> list[Tensor]:
    return [each[near] for each, near in zip(part, kept, strict=True)]


class _DropLossCascade(_DropLoss, CascadeHeads):
    """The cascade, whose stages all leave out the same samples."""


_HEADS: dict[tuple[bool, bool], type[RoIHeads]] = {
    (False, False): RoIHeads,
    (True, False): _DropLoss,
    (False, True): CascadeHeads,
    (True, True): _DropLossCascade,
}
"""By whether DropLoss and the cascade are wanted."""


class _SharedBoxPredictor(FastRCNNPredictor):
    """Scores of classes, and one correction of the box that is the same for all of them."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__(in_channels, num_classes)
        self.bbox_pred = nn.Linear(in_channels, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(n, in_channels) to scores (n, C) and corrections (n, 4 C)."""
        scores, corrections = super().forward(x)
        return scores, corrections.repeat(1, scores.shape[1])


def _near(boxes: Tensor, instances: Tensor) -> Tensor:
    if not len(instances):
        return torch.ones(len(boxes), dtype=torch.bool, device=boxes.device)
    return (box_iou(boxes, instances) > _NEAR).any(dim=1)


def _pyramid(size: NetworkSize, norm: Norm, checkpoint: str | None) -> BackboneWithFPN:
    kinds: dict[str, Callable[..., nn.Module]] = {
        "group": partial(nn.GroupNorm, _GROUPS),
        "batch": nn.BatchNorm2d,
        "frozen_batch": FrozenBatchNorm2d,
    }
    body = getattr(resnet, f"resnet{size.depth}")(norm_layer=kinds[norm])
    del body.fc
    if checkpoint is not None:
        state = {key: value for key, value in read_weights(checkpoint).items() if not key.startswith("fc.")}
        if norm == "frozen_batch":  # it counts no batches
            state = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
        load_strictly(body, state, checkpoint, f"resnet{size.depth}")
    width = body.inplanes // 8
    names = {f"layer{level + 1}": name for level, name in enumerate(_LEVELS)}
    channels = [width * 2**level for level in range(len(_LEVELS))]
    own = None if norm == "frozen_batch" else kinds[norm]
    return BackboneWithFPN(body, names, channels, size.channels, norm_layer=own)


def _proposer(size: NetworkSize) -> RegionProposalNetwork:
    sides = tuple((size.anchor * 2**level,) for level in range(5))
    anchors = AnchorGenerator(sides, ((0.5, 1.0, 2.0),) * 5)
    return RegionProposalNetwork(
        anchors,
        RPNHead(size.channels, anchors.num_anchors_per_location()[0]),
        fg_iou_thresh=0.7,
        bg_iou_thresh=0.3,
        batch_size_per_image=min(256, size.samples),
        positive_fraction=0.5,
        pre_nms_top_n={"training": size.level_proposals, "testing": size.level_proposals},
        post_nms_top_n={"training": size.proposals, "testing": size.proposals},
        nms_thresh=0.65,
    )


def _object_heads(num_things: int, size: NetworkSize, drop_loss: bool, shared_boxes: bool, cascade: bool) -> RoIHeads:
    levels = list(_LEVELS)
    kind = _SharedBoxPredictor if shared_boxes or cascade else FastRCNNPredictor
    head = partial(TwoMLPHead, size.channels * 7**2, size.hidden)
    predictor = partial(kind, size.hidden, num_things + 1)
    heads: Callable[..., RoIHeads] = _HEADS[drop_loss, cascade]
    return heads(
        box_roi_pool=MultiScaleRoIAlign(levels, output_size=7, sampling_ratio=2),
        box_head=of_each_stage(head) if cascade else head(),
        box_predictor=of_each_stage(predictor) if cascade else predictor(),
        fg_iou_thresh=0.5,
        bg_iou_thresh=0.5,
        batch_size_per_image=size.samples,
        positive_fraction=0.25,
        bbox_reg_weights=None,  # 10, 10, 5, 5
        score_thresh=0.05,
        nms_thresh=0.5,
        detections_per_img=size.detections,
        mask_roi_pool=MultiScaleRoIAlign(levels, output_size=14, sampling_ratio=2),
        mask_head=MaskRCNNHeads(size.channels, (size.channels,) * 4, dilation=1),
        mask_predictor=MaskRCNNPredictor(size.channels, size.channels, num_things + 1),
    )


def _to_stride_4(channels: int, hidden: int, level: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for step in range(max(1, level)):
        layers.append(nn.Conv2d(hidden if step else channels, hidden, 3, padding=1, bias=False))
        layers += [nn.GroupNorm(_GROUPS, hidden), nn.ReLU()]
        if level:
            layers.append(nn.Upsample(scale_factor=2, mode="bilinear"))
    return nn.Sequential(*layers)


def _target(instances: Instances) -> dict[str, Tensor]:
    masks = instances.masks.bool()
    # The last pixel is inside; torchvision's boxes end at its middle.
    boxes = masks_to_boxes(masks) + pad(torch.ones(2, device=masks.device), (2, 0))
    return {"boxes": boxes, "labels": instances.labels, "masks": masks.to(torch.uint8)}


def _within(found: dict[str, Tensor], size: tuple[int, int]) -> Detections:
    """Clip the boxes to the image, without its padding; those that lie in the padding are left out."""
    boxes = clip_boxes_to_image(found["boxes"], size)
    kept = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
    return Detections(boxes[kept], found["labels"][kept], found["scores"][kept], found["masks"][kept])


def _size(images: Tensor) -> tuple[int, int]:
    return images.shape[-2], images.shape[-1]


def _check(num_things: int, num_stuff: int, size: NetworkSize, norm: str, checkpoint: str | None) -> None:
    if num_things < 1 or num_stuff < 0:
        raise UserError(f"num_things is at least 1 and num_stuff at least 0, got {num_things} and {num_stuff}.")
    if norm not in get_args(Norm):
        raise UserError(f"norm is {norm!r}: pass {', '.join(get_args(Norm))}.")
    if norm == "frozen_batch" and checkpoint is None:
        raise UserError("norm frozen_batch without weights normalises nothing: pass a checkpoint, or norm group.")
    if size.channels % _GROUPS or size.semantic_channels % _GROUPS:
        raise UserError(
            f"channels and semantic_channels are multiples of {_GROUPS}, got {size.channels} and "
            f"{size.semantic_channels}."
        )
    if min(size.hidden, size.anchor, size.level_proposals, size.proposals, size.samples, size.detections) < 1:
        raise UserError(f"every size is at least 1, got {size}.")
