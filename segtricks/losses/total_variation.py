"""Total variation of a mask over the eight neighbours, weighted by how alike the neighbours look."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import normalize, pad

from segtricks.losses.normalized_cut import check_mask_on_grid


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
        pixels, neighbours = image.detach().float(), _neighbours(image.detach().float())
        weights = (torch.exp((other - pixels).square().sum(1, keepdim=True) / -sigma) for other in neighbours)
        return _weighted_variation(mask.float(), weights)


def feature_tv_loss(features: Tensor, mask: Tensor, tau: float = 0.4, eps: float = 1e-6) -> Tensor:
    """Return the mean over batch, directions and patches of ``ω_ij (m_i - m_j)²``.

    ω_ij is 1 where the cosine of the neighbours' features exceeds ``tau`` and ``eps`` elsewhere. Borders reflect. The
    gradient reaches the mask only.

    Args:
        features: (B, D, h, w), at least 2x2 patches.
        mask: (B, 1, h, w) probabilities on the same grid.
        tau: cosine threshold.
        eps: weight of edges below it.

    Raises:
        ValueError: if mask and features are not on the same grid.
    """
    check_mask_on_grid(features, mask)
    with torch.autocast(mask.device.type, enabled=False):
        unit = normalize(features.detach().float(), dim=1)
        cosines = ((other * unit).sum(1, keepdim=True) for other in _neighbours(unit))
        return _weighted_variation(mask.float(), (torch.where(cosine > tau, 1.0, eps) for cosine in cosines))


def _weighted_variation(mask: Tensor, weights: Iterator[Tensor]) -> Tensor:
    terms = [
        (weight * (other - mask).square()).mean() for weight, other in zip(weights, _neighbours(mask), strict=True)
    ]
    return torch.stack(terms).mean()


def _neighbours(x: Tensor) -> Iterator[Tensor]:
    """Yield the eight neighbours of every pixel of ``x`` (B, C, H, W), as views of its reflected copy."""
    height, width = x.shape[-2:]
    if min(height, width) < 2:
        raise ValueError(f"total variation needs at least 2x2 pixels, got {height}x{width}")
    padded = pad(x, (1, 1, 1, 1), mode="reflect")
    for row in range(3):
        for column in range(3):
            if (row, column) != (1, 1):
                yield padded[..., row : row + height, column : column + width]
