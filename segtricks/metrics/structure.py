"""The mean over images of the structure measure."""

from typing import Any

from torch import Tensor

from segtricks.metrics.base import ImageMean, keep_apart
from segtricks.metrics.functional.masks import binary_target, check_masks
from segtricks.metrics.functional.structure import structure_measure


class StructureMeasure(ImageMean):
    """Mean over images of :func:`structure_measure`.

    ``update(pred, target)`` takes (B, 1, H, W): probabilities in [0, 1], and masks as bool, 0/1 or 0..255.

    Args:
        alpha: weight of the object term, 0.5 in this field.
        target_threshold: target foreground is ``target > target_threshold``, on a scale of 0 to 1.

    Raises:
        ValueError: if ``alpha`` leaves [0, 1].
    """

    def __init__(self, alpha: float = 0.5, target_threshold: float = 0.5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha must lie in [0, 1], got {alpha}; 0.5 is usual")
        self.alpha, self.target_threshold = alpha, target_threshold
        keep_apart(self, alpha, target_threshold)

    def update(self, pred: Tensor, target: Tensor) -> None:
        """Add a batch of images."""
        check_masks(pred, target)
        self.add(structure_measure(pred, binary_target(target, self.target_threshold), self.alpha))
