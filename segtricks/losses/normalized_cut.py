"""Relaxed normalized cut of a soft mask on the patch affinity graph."""

import torch
from torch import Tensor
from torch.nn.functional import normalize

_CLAMP = 1e-6


@torch.no_grad()
def affinity(features: Tensor, tau: float = 0.4, eps: float = 1e-6) -> Tensor:
    """Return the thresholded cosine affinity, 1 where the cosine exceeds ``tau`` and ``eps`` elsewhere.

    Args:
        features: (B, D, h, w).
        tau: cosine threshold in [-1, 1].
        eps: weight of the other edges, which keeps the graph connected.

    Returns:
        (B, N, N) float32 with N = h * w, diagonal kept, without gradient.

    Source: Wang et al., "TokenCut", 2022, equation 4.
    """
    with torch.autocast(features.device.type, enabled=False):
        unit = normalize(features.float().flatten(2), dim=1)
        cosine = unit.transpose(1, 2) @ unit
        return torch.where(cosine > tau, 1.0, eps)


def normalized_cut_loss(features: Tensor, mask: Tensor, tau: float = 0.4, eps: float = 1e-6) -> Tensor:
    """Return the mean normalized cut of soft masks; the gradient reaches the mask only.

    With W the :func:`affinity` and c the mask clamped to [1e-6, 1 - 1e-6]:
    ``cᵀW(1-c) / cᵀW1 + cᵀW(1-c) / (1-c)ᵀW1``, between 0 and 2. It is the same for c and 1 - c.

    Args:
        features: (B, D, h, w).
        mask: (B, 1, h, w) probabilities on the same grid.
        tau: cosine threshold.
        eps: weight of edges below it.

    Raises:
        ValueError: if mask and features are not on the same grid.

    Source: Shi and Malik, 2000, equation 2; Sempart, equation 3.
    """
    check_mask_on_grid(features, mask)
    weights = affinity(features, tau, eps)
    with torch.autocast(features.device.type, enabled=False):
        inside = mask.float().flatten(1).clamp(_CLAMP, 1 - _CLAMP)
        outside = 1 - inside
        degree = weights.sum(dim=2)
        cut = (inside * torch.bmm(weights, outside[:, :, None])[:, :, 0]).sum(dim=1)
        volume_inside = (inside * degree).sum(dim=1).clamp(min=_CLAMP)
        volume_outside = (outside * degree).sum(dim=1).clamp(min=_CLAMP)
        return (cut / volume_inside + cut / volume_outside).mean()


def check_mask_on_grid(features: Tensor, mask: Tensor) -> None:
    """Raise a ``ValueError`` unless ``mask`` is (B, 1, h, w) for ``features`` (B, D, h, w)."""
    if features.ndim != 4 or mask.shape != (features.shape[0], 1, *features.shape[2:]):
        raise ValueError(
            f"mask must be (B, 1, h, w) on the grid of the features {tuple(features.shape)}, got {tuple(mask.shape)}"
        )
