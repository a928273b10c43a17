"""Pixel accuracy, intersection over union and absolute error, per image, then the mean over images."""

from typing import Any

import torch
from torch import Tensor

from segtricks.metrics.base import ImageMean, keep_apart
from segtricks.metrics.functional.masks import binary_target, check_masks
from segtricks.metrics.functional.overlap import mask_iou, mean_absolute_error, pixel_accuracy


class _Overlap(ImageMean):
    """What accuracy and IoU share: both masks are cut at a threshold."""

    def __init__(self, threshold: float = 0.5, target_threshold: float = 0.5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.threshold, self.target_threshold = threshold, target_threshold
        keep_apart(self, threshold, target_threshold)

    def _binary(self, pred: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        check_masks(pred, target)
        return pred > self.threshold, binary_target(target, self.target_threshold)


class PixelAccuracy(_Overlap):
    """Mean over images of the share of pixels on which prediction and target agree.

    ``update(pred, target)`` takes (B, 1, H, W): probabilities in [0, 1], and masks as bool, 0/1 or 0..255.

    Args:
        threshold: a pixel is foreground where ``pred > threshold``.
        target_threshold: and where ``target > target_threshold``, on a scale of 0 to 1.
    """

    def update(self, pred: Tensor, target: Tensor) -> None:
        """Add a batch of images."""
        self.add(pixel_accuracy(*self._binary(pred, target)))


class MaskIoU(_Overlap):
    """Mean over images of the intersection over union of the foreground.

    An image whose prediction and target are both empty has no IoU: it is left out of the mean and counted in
    ``empty``. ``update(pred, target)`` takes (B, 1, H, W): probabilities in [0, 1], and masks as bool, 0/1 or 0..255.

    Args:
        threshold: a pixel is foreground where ``pred > threshold``.
        target_threshold: and where ``target > target_threshold``, on a scale of 0 to 1.
    """

    empty: Tensor

    def __init__(self, threshold: float = 0.5, target_threshold: float = 0.5, **kwargs: Any) -> None:
        super().__init__(threshold, target_threshold, **kwargs)
        self.add_state("empty", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, pred: Tensor, target: Tensor) -> None:
        """Add a batch of images."""
        iou = mask_iou(*self._binary(pred, target))
        self.total += iou.nansum()
        self.images += iou.isfinite().sum()
        self.empty += iou.isnan().sum()


class MeanAbsoluteError(ImageMean):
    """Mean over images of :func:`mean_absolute_error`; lower is better.

    ``update(pred, target)`` takes (B, 1, H, W): probabilities in [0, 1], and masks as bool, 0/1 or 0..255.

    Args:
        target_threshold: target foreground is ``target > target_threshold``, on a scale of 0 to 1.
    """

    higher_is_better = False

    def __init__(self, target_threshold: float = 0.5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.target_threshold = target_threshold
        keep_apart(self, target_threshold)

    def update(self, pred: Tensor, target: Tensor) -> None:
        """Add a batch of images."""
        check_masks(pred, target)
        self.add(mean_absolute_error(pred, binary_target(target, self.target_threshold)))
