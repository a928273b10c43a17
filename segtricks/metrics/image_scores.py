"""All measures of one image by one protocol: what every sum over images is made of."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from segtricks.metrics.alignment import enhanced_alignment
from segtricks.metrics.components import connected_components
from segtricks.metrics.error import mean_absolute_error
from segtricks.metrics.inputs import binary_target, check_masks, stretch
from segtricks.metrics.protocols import Protocol
from segtricks.metrics.structure import structure_measure
from segtricks.metrics.thresholds import (
    adaptive_counts,
    f_beta,
    level_counts,
    precision_recall,
    threshold_counts,
)
from segtricks.metrics.weighted import weighted_fbeta

VALUES = ("acc", "iou", "max_fbeta", "adaptive_fbeta", "weighted_fbeta", "mae", "s_measure", "e_measure_adaptive")


@dataclass(frozen=True)
class ImageScores:
    """Measures of one image.

    Args:
        values: (8,) float64 in the order of ``VALUES``; IoU is nan where prediction and target are both empty, and
            ``max_fbeta`` is the image's own maximum.
        precision: (T,) at each threshold of the protocol.
        recall: (T,)
        f: (T,)
        alignment: (256,) E at each level.
        size: share of the image that the target covers.
    """

    values: Tensor
    precision: Tensor
    recall: Tensor
    f: Tensor
    alignment: Tensor
    size: Tensor

    def brief(self) -> "ImageScores":
        """Return the values and the size alone, on the CPU, to keep for every image."""
        none = torch.empty(0, dtype=torch.float64)
        return ImageScores(self.values.cpu(), none, none, none, none, self.size.cpu())


def image_scores(pred: Tensor, target: Tensor, protocol: Protocol) -> ImageScores:
    """Score one image.

    Args:
        pred: (1, 1, H, W) probabilities in [0, 1].
        target: (1, 1, H, W), bool, 0/1 or 0..255.
        protocol: its choices on resizing and polarity are the caller's to follow.

    Raises:
        ValueError: if a shape or dtype is wrong.
    """
    check_masks(pred, target)
    pred = stretch(pred) if protocol.stretch else pred
    pred = largest_component(pred, protocol.threshold) if protocol.components == "largest" else pred
    truth, f_truth = (binary_target(target, t) for t in (protocol.target_threshold, protocol.f_target_threshold))
    same = protocol.target_threshold == protocol.f_target_threshold
    foreground = pred > protocol.threshold
    union = (foreground | truth).sum()
    iou = (foreground & truth).sum().double() / union
    levels, adaptive = level_counts(pred, truth), adaptive_counts(pred, truth)
    f_levels, f_adaptive = (levels, adaptive) if same else (level_counts(pred, f_truth), adaptive_counts(pred, f_truth))
    relevant, f_relevant = (mask.sum().double().reshape(1, 1) for mask in (truth, f_truth))
    counts = f_levels if protocol.f_compare == "level" else _above(pred, f_truth, f_levels)
    precision, recall = precision_recall(*counts, f_relevant, protocol.f_empty)
    f = f_beta(precision, recall, protocol.beta2)[0]
    values = (
        (foreground == truth).double().mean(),
        iou,
        f.max(),
        f_beta(*precision_recall(*f_adaptive, f_relevant, protocol.f_empty), protocol.beta2)[0, 0],
        weighted_fbeta(pred, truth)[0],
        mean_absolute_error(pred, truth)[0],
        structure_measure(pred, truth)[0],
        enhanced_alignment(*adaptive, relevant, truth.numel())[0, 0],
    )
    alignment = enhanced_alignment(*levels, relevant, truth.numel())[0]
    size = relevant[0, 0] / truth.numel()
    return ImageScores(torch.stack(values), precision[0], recall.expand_as(precision)[0], f, alignment, size)


def threshold_count(protocol: Protocol) -> int:
    """Return the number of thresholds of the protocol's F-measure."""
    return 255 if protocol.f_compare == "above" else 256


def largest_component(pred: Tensor, threshold: float) -> Tensor:
    """Return ``pred`` (1, 1, H, W) with 0 outside the largest 4-connected component of ``pred > threshold``."""
    components = connected_components((pred[0, 0] > threshold).cpu().numpy())
    index = components.largest()
    keep = np.zeros_like(components.labels, bool) if index is None else components.mask(index)
    return pred * torch.from_numpy(keep).to(pred.device)


def _above(pred: Tensor, truth: Tensor, levels: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    scaled = pred * 255
    # A map of 8 bits exceeds k/255 where its level is k + 1 or more: no second histogram is needed.
    if torch.equal(scaled, scaled.floor()):
        return levels[0][:, 1:], levels[1][:, 1:]
    return threshold_counts(pred, truth)
