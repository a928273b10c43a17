"""The mean over images of the weighted F-measure."""

from typing import Any

from torch import Tensor

from segtricks.metrics.base import ImageMean, keep_apart
from segtricks.metrics.functional.masks import binary_target, check_masks
from segtricks.metrics.functional.weighted import weighted_fbeta


class WeightedFBeta(ImageMean):
    """Mean over images of :func:`weighted_fbeta`.

    ``update(pred, target)`` takes (B, 1, H, W): probabilities in [0, 1], and masks as bool, 0/1 or 0..255.

    Args:
        beta2: β², 1 in the paper.
        target_threshold: target foreground is ``target > target_threshold``, on a scale of 0 to 1.
    """

    def __init__(self, beta2: float = 1.0, target_threshold: float = 0.5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not beta2 > 0:
            raise ValueError(f"beta2 must be above 0, got {beta2}")
        self.beta2, self.target_threshold = beta2, target_threshold
        keep_apart(self, beta2, target_threshold)

    def update(self, pred: Tensor, target: Tensor) -> None:
        """Add a batch of images."""
        check_masks(pred, target)
        self.add(weighted_fbeta(pred, binary_target(target, self.target_threshold), self.beta2))
