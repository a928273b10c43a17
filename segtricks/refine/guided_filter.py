"""The guided filter: within every window the mask becomes an affine function of the image."""

from dataclasses import dataclass
from typing import Literal

import torch
from kornia.filters import box_blur, guided_blur
from torch import Tensor

Border = Literal["exact", "reflect", "replicate", "circular"]
Guidance = Literal["gray", "color"]


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


@dataclass(frozen=True)
class GuidedFilter:
    """:func:`guided_filter` with its options bound, callable as ``(mask, image)``.

    Args:
        radius: the window has ``2 * radius + 1`` pixels a side.
        eps: added to the image's variance in a window.
        border: exact, reflect, replicate or circular.
        guidance: gray or color.
        subsample: compute coefficients on every n-th pixel.
    """

    radius: int = 9
    eps: float = 1e-3
    border: Border = "exact"
    guidance: Guidance = "gray"
    subsample: int = 1

    def __post_init__(self) -> None:
        """Refuse options out of range at once (``ValueError``), not in the first step of a run."""
        _check_options(self.radius, self.eps, self.border, self.guidance, self.subsample)

    def __call__(self, mask: Tensor, image: Tensor) -> Tensor:
        """Filter ``mask`` (B, 1, H, W) by ``image`` (B, 3, H, W) in [0, 1]."""
        return guided_filter(
            mask,
            image,
            self.radius,
            self.eps,
            border=self.border,
            guidance=self.guidance,
            subsample=self.subsample,
        )


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
    _check_options(radius, eps, border, guidance, subsample)
    if border in ("reflect", "circular") and min(image.shape[-2:]) <= radius // subsample:
        raise ValueError(f'border="{border}" needs an image larger than the radius {radius}; pass border="exact"')


def _check_options(radius: int, eps: float, border: str, guidance: str, subsample: int) -> None:
    if radius < 1 or not eps > 0 or subsample < 1:
        raise ValueError(f"radius >= 1, eps > 0 and subsample >= 1 needed, got {radius}, {eps}, {subsample}")
    if border not in ("exact", "reflect", "replicate", "circular"):
        raise ValueError(f"border must be exact, reflect, replicate or circular, got {border!r}")
    if guidance not in ("gray", "color"):
        raise ValueError(f"guidance must be gray or color, got {guidance!r}")
    if border == "exact" and (guidance == "color" or subsample > 1):
        raise ValueError('border="exact" goes with gray guidance and subsample=1; pass border="reflect"')
