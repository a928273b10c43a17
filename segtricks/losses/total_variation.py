"""Total variation of a mask over the eight neighbours, weighted by how alike the neighbours look."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn.functional import normalize, pad

from segtricks.losses.normalized_cut import check_mask_on_grid
from segtricks.losses.tau import Tau, threshold


def image_tv_loss(image: Tensor, mask: Tensor, sigma: float = 1.0) -> Tensor:
    """Return the mean over batch, directions and pixels of ``exp(-|x_i - x_j|²/σ) (m_i - m_j)²``.

    Borders reflect. The gradient reaches the mask only.

    Args:
        image: (B, 3, H, W) ImageNet-normalised, at least 2x2 pixels.
        mask: (B, 1, H, W) probabilities.
        sigma: scale of the squared colour distance, above 0.

    Raises:
        ValueError: if the mask is not of the image's size or ``sigma`` is not positive.
    """
    if not sigma > 0:
        raise ValueError(f"sigma must be above 0, got {sigma}")
    check_mask_on_grid(image, mask)
    with torch.autocast(mask.device.type, enabled=False):
        pixels = image.detach().float().contiguous()  # sums over channels are slow if these are innermost
        return _variation(
            mask.float(), pixels, lambda x, other: (x - other).square_().sum(1, keepdim=True).div_(-sigma).exp_()
        )


def feature_tv_loss(features: Tensor, mask: Tensor, tau: Tau = 0.4, eps: float = 1e-6) -> Tensor:
    """Return the mean over batch, directions and patches of ``ω_ij (m_i - m_j)²``.

    ω_ij is 1 where the cosine of the neighbours' features exceeds ``tau`` and ``eps`` elsewhere. Borders reflect. The
    gradient reaches the mask only.

    Args:
        features: (B, D, h, w), at least 2x2 patches.
        mask: (B, 1, h, w) probabilities on the same grid.
        tau: cosine threshold in [-1, 1], or ``share:X`` of each image's pairs (:mod:`segtricks.losses.tau`).
        eps: weight of edges below it.

    Raises:
        ValueError: if mask and features are not on the same grid.
    """
    check_mask_on_grid(features, mask)
    with torch.autocast(mask.device.type, enabled=False):
        unit = normalize(features.detach().float(), dim=1)
        level = threshold(unit.flatten(2), tau)
        level = level[..., None] if isinstance(level, Tensor) else level
        return _variation(
            mask.float(), unit, lambda x, other: torch.where((x * other).sum(1, keepdim=True) > level, 1.0, eps)
        )


def _variation(mask: Tensor, looks: Tensor, weight: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Mean over batch, eight directions and pixels; ``weight`` is symmetric and compares (B, C, ...) with (B, C, ...).

    Every pair of neighbours is looked at once, in the image with its reflected border, and counted from each of its
    ends that is not a reflection.
    """
    height, width = mask.shape[-2:]
    if min(height, width) < 2:
        raise ValueError(f"total variation needs at least 2x2 pixels, got {height}x{width}")
    total = mask.new_zeros(())
    inside = pad(torch.ones_like(mask[:1]), (1, 1, 1, 1))
    reflected = (pad(x, (1, 1, 1, 1), mode="reflect") for x in (mask, looks))
    for (m, other), (look, other_look), (one, another) in zip(*map(_pairs, (*reflected, inside)), strict=True):
        with torch.no_grad():
            weights = weight(look, other_look).mul_(one + another)
        total = total + ((m - other).square() * weights).sum()
    return total / (8 * mask.numel())


def _pairs(x: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Views of ``x`` (B, C, H, W) and of its neighbours to the right, below, below right and below left."""
    yield x[..., :, :-1], x[..., :, 1:]
    yield x[..., :-1, :], x[..., 1:, :]
    yield x[..., :-1, :-1], x[..., 1:, 1:]
    yield x[..., :-1, 1:], x[..., 1:, :-1]
