"""What all measures share: checks of masks, and targets and predictions on one scale."""

import torch
from torch import Tensor

_ROUNDING = 1e-4  # of resized probabilities


def check_masks(pred: Tensor, target: Tensor) -> None:
    """Raise a ``ValueError`` unless ``pred`` is floating in [0, 1], (B, 1, H, W), and ``target`` of the same shape."""
    if pred.ndim != 4 or pred.shape[1] != 1 or pred.shape != target.shape or pred.numel() == 0:
        raise ValueError(
            f"pred and target must be (B, 1, H, W) of one size, got {tuple(pred.shape)} and {tuple(target.shape)}"
        )
    if not pred.is_floating_point():
        raise ValueError(f"pred must hold probabilities in [0, 1] as floats, got {pred.dtype}")
    low, high = pred.aminmax()
    # One comparison, which nan fails too: a GPU is waited for once.
    if (low >= -_ROUNDING) & (high <= 1 + _ROUNDING):
        return
    if not pred.isfinite().all():
        raise ValueError("pred holds values that are not finite")
    raise ValueError(
        f"pred must hold probabilities in [0, 1], got values from {float(low):g} to {float(high):g}: "
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
    varies = high > low
    return (pred - torch.where(varies, low, 0)).div_(torch.where(varies, high - low, 1))
