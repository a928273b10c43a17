"""Relaxed normalized cut of a soft mask on the patch affinity graph."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from segtricks.losses.tau import Tau, threshold

_CLAMP = 1e-6

BLOCK = 2**25
"""Entries of the affinity that the loss holds at a time, over the batch: 128 MiB."""


@torch.no_grad()
def affinity(features: Tensor, tau: Tau = 0.4, eps: float = 1e-6) -> Tensor:
    """Return the thresholded cosine affinity, 1 where the cosine exceeds ``tau`` and ``eps`` elsewhere.

    Args:
        features: (B, D, h, w).
        tau: cosine threshold in [-1, 1], or ``share:X`` of each image's pairs (:mod:`segtricks.losses.tau`).
        eps: weight of the other edges, which keeps the graph connected.

    Returns:
        (B, N, N) float32 with N = h * w, diagonal kept, without gradient.

    Source: Wang et al., "TokenCut", 2022, equation 4.
    """
    with torch.autocast(features.device.type, enabled=False):
        unit = normalize(features.float().flatten(2), dim=1)
        cosine = unit.transpose(1, 2) @ unit
        similar = cosine > threshold(unit, tau)
        return cosine.fill_(eps).masked_fill_(similar, 1.0)


def normalized_cut_loss(features: Tensor, mask: Tensor, tau: Tau = 0.4, eps: float = 1e-6) -> Tensor:
    """Return the mean normalized cut of soft masks; the gradient reaches the mask only.

    With W the :func:`affinity` and c the mask clamped to [1e-6, 1 - 1e-6]:
    ``cᵀW(1-c) / cᵀW1 + cᵀW(1-c) / (1-c)ᵀW1``, between 0 and 2. It is the same for c and 1 - c.

    W is used up as it is made, in blocks of rows with at most :data:`BLOCK` entries, and not kept for the gradient: its
    memory grows with N, its time with N². Up to B N² = BLOCK (13 images of 40 x 40 patches) there is one block.

    Args:
        features: (B, D, h, w).
        mask: (B, 1, h, w) probabilities on the same grid.
        tau: cosine threshold in [-1, 1], or ``share:X`` of each image's pairs (:mod:`segtricks.losses.tau`).
        eps: weight of edges below it.

    Raises:
        ValueError: if mask and features are not on the same grid.

    Source: Shi and Malik, 2000, equation 2; Sempart, equation 3.
    """
    check_mask_on_grid(features, mask)
    with torch.autocast(features.device.type, enabled=False):
        inside = mask.float().flatten(1).clamp(_CLAMP, 1 - _CLAMP)
        to_inside, to_outside = _sums_of_edges(features, inside, tau, eps)
        degree = to_inside + to_outside
        cut = _Cut.apply(inside, to_inside, to_outside)
        volume_inside = (inside * degree).sum(dim=1).clamp(min=_CLAMP)
        volume_outside = ((1 - inside) * degree).sum(dim=1).clamp(min=_CLAMP)
        return (cut / volume_inside + cut / volume_outside).mean()


def check_mask_on_grid(features: Tensor, mask: Tensor) -> None:
    """Raise a ``ValueError`` unless ``mask`` is (B, 1, h, w) for ``features`` (B, D, h, w)."""
    if features.ndim != 4 or mask.shape != (features.shape[0], 1, *features.shape[2:]):
        raise ValueError(
            f"mask must be (B, 1, h, w) on the grid of the features {tuple(features.shape)}, got {tuple(mask.shape)}"
        )


class _Cut(torch.autograd.Function):
    """cᵀW(1-c) of every image from c, Wc and W(1-c), each (B, N); W is symmetric, so its gradient is W(1-c) - Wc."""

    @staticmethod
    def forward(ctx: Any, inside: Tensor, to_inside: Tensor, to_outside: Tensor) -> Tensor:
        ctx.save_for_backward(to_outside - to_inside)
        return (inside * to_outside).sum(dim=1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (slope,) = ctx.saved_tensors
        return gradients[0][:, None] * slope, None, None


@torch.no_grad()
def _sums_of_edges(features: Tensor, inside: Tensor, tau: Tau, eps: float) -> tuple[Tensor, Tensor]:
    """Wc and W(1-c), each (B, N), of ``inside`` c (B, N)."""
    unit = normalize(features.float().flatten(2), dim=1)
    level = threshold(unit, tau)
    sides = torch.stack([inside, 1 - inside], dim=2)
    rows = max(1, BLOCK // max(1, unit.shape[0] * unit.shape[2]))
    similar = [torch.bmm(torch.bmm(block.transpose(1, 2), unit).gt_(level), sides) for block in unit.split(rows, dim=2)]
    # Added one by one to a sum of ones, the many eps would be lost in float32.
    sums = torch.cat(similar, dim=1) * (1 - eps) + sides.sum(dim=1, keepdim=True) * eps
    to_inside, to_outside = sums.unbind(2)
    return to_inside, to_outside
