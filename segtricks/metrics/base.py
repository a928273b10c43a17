"""What all metrics share: checks of their input, the mean of one score per image, a state of their own."""

import re
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

_ROUNDING = 1e-4  # of resized probabilities


def check_masks(pred: Tensor, target: Tensor) -> None:
    """Raise a ``ValueError`` unless ``pred`` is floating in [0, 1], (B, 1, H, W), and ``target`` of the same shape."""
    if pred.ndim != 4 or pred.shape[1] != 1 or pred.shape != target.shape or pred.numel() == 0:
        raise ValueError(
            f"pred and target must be (B, 1, H, W) of one size, got {tuple(pred.shape)} and {tuple(target.shape)}"
        )
    if not pred.is_floating_point():
        raise ValueError(f"pred must hold probabilities in [0, 1] as floats, got {pred.dtype}")
    # One comparison, which nan fails too: a GPU is waited for once.
    if ((pred >= -_ROUNDING) & (pred <= 1 + _ROUNDING)).all():
        return
    if not pred.isfinite().all():
        raise ValueError("pred holds values that are not finite")
    raise ValueError(
        f"pred must hold probabilities in [0, 1], got values from {float(pred.min()):g} to {float(pred.max()):g}: "
        "pass pred.sigmoid() of logits, pred / 255 of 8-bit masks, pred.clamp(0, 1) of filtered masks"
    )


def binary_target(target: Tensor, threshold: float) -> Tensor:
    """Return ``target > threshold`` as bool, with ``target`` read on a scale of 0 to 1.

    Floats are taken as they are and bool is kept; integers are 0..255, or 0/1 where no value exceeds 1.
    """
    if target.dtype == torch.bool:
        return target
    if target.is_floating_point():
        return target > threshold
    scale = 1 if target.max() <= 1 else 255
    return target > threshold * scale


def stretch(pred: Tensor) -> Tensor:
    """Return each map (B, 1, H, W) stretched to 0..1 by its own minimum and maximum; a constant map stays as it is."""
    low, high = pred.amin(dim=(1, 2, 3), keepdim=True), pred.amax(dim=(1, 2, 3), keepdim=True)
    return torch.where(high > low, (pred - low) / (high - low), pred)


class ImageMean(Metric):
    """Sum of one score per image, in float64, and the number of images it stands for."""

    full_state_update = False
    higher_is_better = True
    total: Tensor
    images: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("images", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def add(self, scores: Tensor) -> None:
        """Add the scores (B,) of a batch."""
        self.total += scores.double().sum()
        self.images += len(scores)

    def compute(self) -> Tensor:
        """Return the mean over images, float64; nan before the first."""
        return self.total / self.images


def keep_apart(metric: Metric, *options: object) -> None:
    """Give a metric a state whose name holds its class and options, and whose value is always 0.

    ``torchmetrics.MetricCollection`` takes metrics for one and the same if their states have equal names, and equal
    values after the first batch, as sums of scores have that start with a perfect image; the others then copy the
    first one's.
    """
    name = re.sub(r"\W", "_", "_".join(map(str, (type(metric).__name__, *options))))
    metric.add_state(name, torch.zeros(()), dist_reduce_fx="sum")
