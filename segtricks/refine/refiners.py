"""The refiners as dataclasses of their options. They import torch when they are called."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

Border = Literal["exact", "reflect", "replicate", "circular"]
Guidance = Literal["gray", "color"]


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
        check_options(self.radius, self.eps, self.border, self.guidance, self.subsample)

    def __call__(self, mask: "Tensor", image: "Tensor") -> "Tensor":
        """Filter ``mask`` (B, 1, H, W) by ``image`` (B, 3, H, W) in [0, 1]."""
        from segtricks.refine.guided_filter import guided_filter

        return guided_filter(
            mask,
            image,
            self.radius,
            self.eps,
            border=self.border,
            guidance=self.guidance,
            subsample=self.subsample,
        )


@dataclass(frozen=True)
class BilateralSolver:
    """:func:`bilateral_solver` with its options bound, callable as ``(mask, image)``.

    Args:
        sigma_spatial: side of a cell in pixels.
        sigma_luma: its height in luma, of 255.
        sigma_chroma: its sides in the two chroma.
        hard: give the binary mask of :func:`hard_mask`.
    """

    sigma_spatial: float = 24
    sigma_luma: float = 4
    sigma_chroma: float = 4
    hard: bool = False

    def __call__(self, mask: "Tensor", image: "Tensor") -> "Tensor":
        """Refine ``mask`` (B, 1, H, W) by ``image`` (B, 3, H, W) in [0, 1]."""
        from segtricks.refine.bilateral_solver import bilateral_solver, hard_mask

        soft = bilateral_solver(mask, image, self.sigma_spatial, self.sigma_luma, self.sigma_chroma)
        return hard_mask(soft) if self.hard else soft


BILATERAL_PRESETS = {"two-tricks": BilateralSolver(24, 4, 4), "tokencut": BilateralSolver(16, 16, 8)}
"""Cell sizes in use: of the "Two Tricks" code, and of TokenCut, MOVE and FOUND."""


@dataclass(frozen=True)
class DenseCRF:
    """:func:`dense_crf` with its options bound, callable as ``(mask, image)``.

    Args:
        sigma_smooth: of the kernel of position, in pixels.
        weight_smooth: its weight.
        sigma_spatial: of the kernel of position and colour, in pixels.
        sigma_color: the same in the colours, of 255.
        weight_color: its weight.
        iterations: of mean field.
    """

    sigma_smooth: float = 3
    weight_smooth: float = 7
    sigma_spatial: float = 50
    sigma_color: float = 5
    weight_color: float = 10
    iterations: int = 10

    def __call__(self, mask: "Tensor", image: "Tensor") -> "Tensor":
        """Refine ``mask`` (B, 1, H, W) by ``image`` (B, 3, H, W) or (1, 3, H, W) in [0, 1]."""
        from segtricks.refine.dense_crf import dense_crf

        return dense_crf(
            mask,
            image,
            sigma_smooth=self.sigma_smooth,
            weight_smooth=self.weight_smooth,
            sigma_spatial=self.sigma_spatial,
            sigma_color=self.sigma_color,
            weight_color=self.weight_color,
            iterations=self.iterations,
        )


def check_options(radius: int, eps: float, border: str, guidance: str, subsample: int) -> None:
    """Raise a ``ValueError`` for options of the guided filter that are out of range."""
    if radius < 1 or not eps > 0 or subsample < 1:
        raise ValueError(f"radius >= 1, eps > 0 and subsample >= 1 needed, got {radius}, {eps}, {subsample}")
    if border not in ("exact", "reflect", "replicate", "circular"):
        raise ValueError(f"border must be exact, reflect, replicate or circular, got {border!r}")
    if guidance not in ("gray", "color"):
        raise ValueError(f"guidance must be gray or color, got {guidance!r}")
    if border == "exact" and (guidance == "color" or subsample > 1):
        raise ValueError('border="exact" goes with gray guidance and subsample=1; pass border="reflect"')
