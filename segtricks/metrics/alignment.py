"""The mean over images of the enhanced alignment measure."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from segtricks.metrics.base import keep_apart
from segtricks.metrics.functional.alignment import enhanced_alignment
from segtricks.metrics.functional.masks import binary_target, check_masks
from segtricks.metrics.thresholds import LEVELS, adaptive_counts, level_counts


class EnhancedAlignmentMeasure(Metric):
    """Mean over images of E: ``compute`` returns ``{"max", "mean", "adaptive"}``, float64.

    ``max`` and ``mean`` are taken over the 256 thresholds ``floor(255 pred) >= k`` after the mean over images;
    ``adaptive`` cuts each image at twice its mean, at most 1. See :func:`enhanced_alignment`.

    ``update(pred, target)`` takes (B, 1, H, W): probabilities in [0, 1], and masks as bool, 0/1 or 0..255.

    Args:
        target_threshold: target foreground is ``target > target_threshold``, on a scale of 0 to 1.
    """

    full_state_update = False
    higher_is_better = True
    level_sum: Tensor
    adaptive_sum: Tensor
    images: Tensor

    def __init__(self, target_threshold: float = 0.5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.target_threshold = target_threshold
        keep_apart(self, target_threshold)
        self.add_state("level_sum", torch.zeros(LEVELS, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("adaptive_sum", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("images", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, pred: Tensor, target: Tensor) -> None:
        """Add a batch of images."""
        check_masks(pred, target)
        truth = binary_target(target, self.target_threshold)
        relevant = truth.flatten(1).sum(dim=1, keepdim=True).double()
        pixels = truth[0].numel()
        self.level_sum += enhanced_alignment(*level_counts(pred, truth), relevant, pixels).sum(dim=0)
        self.adaptive_sum += enhanced_alignment(*adaptive_counts(pred, truth), relevant, pixels).sum()
        self.images += len(pred)

    def curve(self) -> Tensor:
        """Return the mean E over images at each threshold, (256,) float64."""
        return self.level_sum / self.images

    def compute(self) -> dict[str, Tensor]:
        """Return the three figures; nan before the first image."""
        curve = self.curve()
        return {"max": curve.max(), "mean": curve.mean(), "adaptive": self.adaptive_sum / self.images}
