"""The cascade of three box heads: each looks at the boxes that the one before has corrected."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import softmax
from torchvision.models.detection._utils import BoxCoder, Matcher
from torchvision.models.detection.roi_heads import RoIHeads, fastrcnn_loss, maskrcnn_inference, maskrcnn_loss
from torchvision.ops import box_iou, clip_boxes_to_image

STAGES = (
    (0.5, (10.0, 10.0, 5.0, 5.0)),
    (0.6, (20.0, 20.0, 10.0, 10.0)),
    (0.7, (30.0, 30.0, 15.0, 15.0)),
)
"""IoU from which a box is that of an object, and weights of its correction, in each stage."""


class BoxTargets(NamedTuple):
    """What one stage learns of an image: ``labels`` (n,), 0 for background, and ``corrections`` (n, 4)."""

    labels: Tensor
    corrections: Tensor


class CascadeHeads(RoIHeads):
    """Mask R-CNN's heads, of which the box heads and predictors are a list of three.

    Corrections are those of all classes. The first stage learns from the sampled proposals, and each later one from
    their corrected boxes; the losses of the stages add up, and each passes on a third of its gradient to the features.
    A detection has the boxes of the last stage, and the mean of the probabilities of all. Masks are as in Mask R-CNN.

    Args:
        options: as of torchvision's ``RoIHeads``; ``box_head`` and ``box_predictor`` are ``ModuleList``.

    Source: Cai and Vasconcelos, "Cascade R-CNN", CVPR 2018, with the thresholds and weights of U2Seg.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.coders = [BoxCoder(weights) for _, weights in STAGES]
        self.matchers = [Matcher(iou, iou, allow_low_quality_matches=False) for iou, _ in STAGES]

    def forward(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: list[dict[str, Tensor]] | None = None,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """Return detections, or in training the losses, as torchvision's ``RoIHeads`` does."""
        if targets is None:
            return self._detect(features, proposals, image_shapes), {}
        proposals, matched, labels, corrections = self.select_training_samples(proposals, targets)
        first = [BoxTargets(*pair) for pair in zip(labels, corrections, strict=True)]
        classes, boxes = self._box_losses(features, proposals, image_shapes, first, targets)
        inside = [label > 0 for label in labels]
        positive = [part[kept] for part, kept in zip(proposals, inside, strict=True)]
        objects = [part[kept] for part, kept in zip(matched, inside, strict=True)]
        logits = self._mask_logits(features, positive, image_shapes)
        true_masks = [target["masks"] for target in targets]
        true_labels = [target["labels"] for target in targets]
        masks = maskrcnn_loss(logits, positive, true_masks, true_labels, objects)
        return [], {"loss_classifier": classes, "loss_box_reg": boxes, "loss_mask": masks}

    def _box_losses(
        self,
        features: dict[str, Tensor],
        boxes: list[Tensor],
        image_shapes: list[tuple[int, int]],
        wanted: list[BoxTargets],
        targets: list[dict[str, Tensor]],
    ) -> tuple[Tensor, Tensor]:
        losses = []
        for stage in range(len(STAGES)):
            if stage:
                wanted = [self.match(stage, each, target) for each, target in zip(boxes, targets, strict=True)]
            scores, corrections = self._predict(stage, features, boxes, image_shapes)
            labels, true_corrections = zip(*wanted, strict=True)
            losses.append(torch.stack(fastrcnn_loss(scores, corrections, list(labels), list(true_corrections))))
            boxes = self.correct(stage, corrections, boxes, image_shapes)
        classes, corrected = torch.stack(losses).sum(dim=0)
        return classes, corrected

    def match(self, stage: int, boxes: Tensor, target: dict[str, Tensor]) -> BoxTargets:
        """Return what a stage learns of boxes (n, 4) of an image, given its objects."""
        if not len(target["boxes"]):
            return BoxTargets(boxes.new_zeros(len(boxes), dtype=torch.int64), torch.zeros_like(boxes))
        matched = self.matchers[stage](box_iou(target["boxes"], boxes))
        labels = target["labels"][matched.clamp_min(0)].masked_fill(matched < 0, 0)
        (corrections,) = self.coders[stage].encode([target["boxes"][matched.clamp_min(0)]], [boxes])
        return BoxTargets(labels, corrections)

    def correct(
        self, stage: int, corrections: Tensor, boxes: Sequence[Tensor], image_shapes: Sequence[tuple[int, int]]
    ) -> list[Tensor]:
        """Return the boxes (n, 4) of each image, corrected by (sum of n, 4 or more) and within it, without gradient."""
        decoded = self.coders[stage].decode_single(corrections[:, :4].detach(), torch.cat(list(boxes)))
        parts = decoded.split([len(each) for each in boxes])
        return [clip_boxes_to_image(part, shape) for part, shape in zip(parts, image_shapes, strict=True)]

    def _predict(
        self, stage: int, features: dict[str, Tensor], boxes: list[Tensor], image_shapes: list[tuple[int, int]]
    ) -> tuple[Tensor, Tensor]:
        pooled = share_of_gradient(self.box_roi_pool(features, boxes, image_shapes), 1 / len(STAGES))
        found: tuple[Tensor, Tensor] = self.box_predictor[stage](self.box_head[stage](pooled))
        return found

    def _detect(
        self, features: dict[str, Tensor], boxes: list[Tensor], image_shapes: list[tuple[int, int]]
    ) -> list[dict[str, Tensor]]:
        probabilities = []
        for stage in range(len(STAGES)):
            scores, corrections = self._predict(stage, features, boxes, image_shapes)
            probabilities.append(softmax(scores, dim=1))
            boxes = self.correct(stage, corrections, boxes, image_shapes)
        # What follows takes the softmax of logits, and corrects boxes once more, here by nothing.
        logits = torch.stack(probabilities).mean(dim=0).log()
        found = self.postprocess_detections(logits, torch.zeros_like(corrections), boxes, image_shapes)
        detections = [dict(zip(("boxes", "scores", "labels"), each, strict=True)) for each in zip(*found, strict=True)]
        masks = self._mask_logits(features, [each["boxes"] for each in detections], image_shapes)
        for each, mask in zip(
            detections, maskrcnn_inference(masks, [one["labels"] for one in detections]), strict=True
        ):
            each["masks"] = mask
        return detections

    def _mask_logits(
        self, features: dict[str, Tensor], boxes: list[Tensor], image_shapes: list[tuple[int, int]]
    ) -> Tensor:
        logits: Tensor = self.mask_predictor(self.mask_head(self.mask_roi_pool(features, boxes, image_shapes)))
        return logits


def share_of_gradient(values: Tensor, share: float) -> Tensor:
    """Return the values, which pass on only a share of their gradient."""
    return values * share + values.detach() * (1 - share)


def of_each_stage(make: Any) -> nn.ModuleList:
    """Return one of what is made for each stage."""
    return nn.ModuleList(make() for _ in STAGES)
