"""Pixel accuracy, intersection over union and absolute error of each image."""

from torch import Tensor


def pixel_accuracy(foreground: Tensor, truth: Tensor) -> Tensor:
    """Return the share of pixels on which two bool masks (B, 1, H, W) agree, (B,) float64."""
    equal = foreground == truth
    return equal.flatten(1).sum(dim=1).double() / equal[0].numel()


def mask_iou(foreground: Tensor, truth: Tensor) -> Tensor:
    """Return the intersection over union of bool masks (B, 1, H, W), (B,) float64; nan where both are empty."""
    shared, union = (each.flatten(1).sum(dim=1) for each in (foreground & truth, foreground | truth))
    return shared.double() / union


def mean_absolute_error(pred: Tensor, truth: Tensor) -> Tensor:
    """Return the mean of ``|pred - truth|`` of each image: (B, 1, H, W) in [0, 1] and bool, to (B,) float64.

    Source: Perazzi et al., "Saliency filters", CVPR 2012.
    """
    return (truth.double() - pred).abs_().flatten(1).mean(dim=1)
