"""The guided filter: within every window the mask becomes an affine function of the image."""

import torch
from kornia.filters import box_blur, guided_blur
from torch import Tensor

from segtricks.refine.refiners import Border, Guidance, check_options


def guided_filter(
    mask: Tensor,
    image: Tensor,
    radius: int = 9,
    eps: float = 1e-3,
    *,
    border: Border = "exact",
    guidance: Guidance = "gray",
    subsample: int = 1,
) -> Tensor:
    """Return the mask filtered with the image as guidance, in float32 and not clamped.

    Args:
        mask: (B, 1, H, W), soft or binary.
        image: (B, 3, H, W) or (B, 1, H, W) in [0, 1].
        radius: the window has ``2 * radius + 1`` pixels a side.
        eps: added to the variance of the image in a window; larger values smooth more.
        border: ``exact`` takes the mean over the pixels that lie inside the image, as the paper does; the others pad.
        guidance: ``gray`` is the plain mean of the channels, as in the paper; ``color`` uses all of them.
        subsample: compute the affine coefficients on every n-th pixel (fast guided filter).

    Returns:
        (B, 1, H, W) float32. Values can leave [0, 1] by a little.

    Raises:
        ValueError: if the sizes differ, an option is out of range, or ``border="exact"`` is asked for together with
            colour guidance or subsampling, which have padded borders only.

    Source: He, Sun and Tang, "Guided Image Filtering", TPAMI 2013, algorithm 1.
    """
    _check(mask, image, radius, eps, border, guidance, subsample)
    with torch.autocast(mask.device.type, enabled=False):
        mask, image = mask.float(), image.float()
        if guidance == "gray":
            image = image.mean(dim=1, keepdim=True)
        if border != "exact":
            return guided_blur(image, mask, 2 * radius + 1, eps, border, subsample, separable=True)
        window = _WindowMean(image, radius)
        mean_i, mean_m, mean_im, mean_ii = window(torch.cat([image, mask, image * mask, image * image], 1)).split(1, 1)
        slope = (mean_im - mean_i * mean_m) / (mean_ii - mean_i * mean_i + eps)
        offset = mean_m - slope * mean_i
        mean_slope, mean_offset = window(torch.cat([slope, offset], 1)).split(1, 1)
        return mean_slope * image + mean_offset


class _WindowMean:
    """Mean over the pixels of a window that lie inside the image: a zero-padded box blur divided by that of ones."""

    def __init__(self, like: Tensor, radius: int) -> None:
        self.size = 2 * radius + 1
        self.inside = self._blur(torch.ones_like(like[:1, :1]))

    def __call__(self, x: Tensor) -> Tensor:
        return self._blur(x) / self.inside

    def _blur(self, x: Tensor) -> Tensor:
        return box_blur(x, self.size, border_type="constant", separable=True)


def _check(mask: Tensor, image: Tensor, radius: int, eps: float, border: str, guidance: str, subsample: int) -> None:
    if mask.ndim != 4 or mask.shape[1] != 1:
        raise ValueError(f"mask must be (B, 1, H, W), got {tuple(mask.shape)}")
    if image.ndim != 4 or image.shape[1] not in (1, 3):
        raise ValueError(f"image must be (B, 3, H, W) or (B, 1, H, W), got {tuple(image.shape)}")
    if (mask.shape[0], *mask.shape[2:]) != (image.shape[0], *image.shape[2:]):
        raise ValueError(f"mask {tuple(mask.shape)} and image {tuple(image.shape)} differ in batch or size")
    check_options(radius, eps, border, guidance, subsample)
    if border in ("reflect", "circular") and min(image.shape[-2:]) <= radius // subsample:
        raise ValueError(f'border="{border}" needs an image larger than the radius {radius}; pass border="exact"')
