"""The affinity threshold tau: a cosine, or ``share:X``, the cosine above which a share X of all pairs of patches lies.

Networks differ in how alike their patches are: all keys of DINOv2's last block have cosines above 0.6, so that DINO's
threshold of 0.4 ties every patch to every other and leaves nothing to cut. A share is the same for any network.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from segtricks.errors import UserError

Tau = float | str
"""A cosine in [-1, 1], or ``share:X`` with X in (0, 1)."""

_PREFIX = "share:"
_LEGAL = "It takes a cosine from -1 to 1, such as 0.4, or share:X with X between 0 and 1, such as share:0.5."
_PATCHES, _POOLED = 1024, 512  # of an image, at most, whose pairs decide: alone, or pooled with others
_SPREAD = 1e-4  # cosines that differ less than this are one: the image is uniform


def share_of(tau: Tau) -> float | None:
    """Return X of ``share:X``; None for a plain cosine.

    Raises:
        UserError: neither a cosine in [-1, 1] nor ``share:X`` with X in (0, 1).
    """
    if isinstance(tau, str) and tau.startswith(_PREFIX):
        share = _number(tau.removeprefix(_PREFIX), tau)
        if not 0 < share < 1:
            raise UserError(f"tau is {tau!r}: the share lies between 0 and 1, ends excluded.\n{_LEGAL}")
        return share
    if not -1 <= _number(tau, tau) <= 1:
        raise UserError(f"tau is {tau}: a cosine lies between -1 and 1.\n{_LEGAL}")
    return None


def threshold(unit: Tensor, tau: Tau) -> float | Tensor:
    """Return what the cosines of each image are compared with: one number, or (B, 1, 1) float32, one for each image.

    Args:
        unit: (B, D, N) float32, patch features of unit length.
        tau: a cosine, the same for all, or ``share:X`` of each image's own pairs. A uniform image, whose cosines are
            all one number, gets a threshold that none exceeds.

    Raises:
        UserError: see :func:`share_of`.
    """
    share = share_of(tau)
    if share is None:
        return float(tau)
    own = [_quantile(_pairs(image), share) for image in unit]
    return torch.stack(own)[:, None, None] if own else unit.new_zeros(0, 1, 1)


@dataclass(frozen=True)
class Graph:
    """What a threshold makes of the pairs of patches of some images.

    Attributes:
        tau: the threshold as a cosine.
        share: share of the pairs above it.
        median: median cosine of the pairs.
    """

    tau: float
    share: float
    median: float

    @property
    def uniform(self) -> bool:
        """Whether all patches are alike, so that no threshold parts them."""
        return self.tau > 1 or self.median > 1 - _SPREAD

    @property
    def degenerate(self) -> bool:
        """Whether more than 95 % of the pairs lie on one side: nearly all patches alike, or nearly none."""
        return not 0.05 <= self.share <= 0.95

    def __str__(self) -> str:
        """What a person reads."""
        side, share = ("above", self.share) if self.share > 0.5 else ("below", 1 - self.share)
        return f"{share:.1%} of the pairs of patches are {side} tau {self.tau:.3f} (median cosine {self.median:.3f})"


@torch.no_grad()
def measure_graph(features: list[Tensor], tau: Tau) -> Graph:
    """Return the graph of a sample of images, whose pairs of patches are pooled.

    Args:
        features: patch features of each image, (D, h, w), on any grids; at least one image.
        tau: a cosine, or ``share:X`` of the pooled pairs.

    Raises:
        UserError: see :func:`share_of`; or features that are not finite.
    """
    share = share_of(tau)
    with torch.autocast(features[0].device.type, enabled=False):
        pooled = torch.cat([_pairs(normalize(image.float().flatten(1), dim=0), _POOLED) for image in features])
    if not pooled.isfinite().all():
        raise UserError(
            "The backbone's features are not finite (nan or infinity), so no threshold fits them.\n"
            "Next: pass --trainer.precision 32-true, or other weights with --model.backbone_checkpoint FILE."
        )
    cosine = float(tau) if share is None else float(_quantile(pooled, share))
    above = float((pooled > cosine).float().mean()) if len(pooled) else 0.0
    return Graph(cosine, above, float(pooled.median()) if len(pooled) else 1.0)


def _pairs(unit: Tensor, most: int = _PATCHES) -> Tensor:
    """Cosines of the pairs of different patches of ``unit`` (D, N), each once; of a larger grid, of an even sample."""
    count = unit.shape[1]
    if count > most:
        unit = unit[:, torch.linspace(0, count - 1, most, device=unit.device).long()]
    cosine = unit.T @ unit
    rows, columns = torch.triu_indices(len(cosine), len(cosine), offset=1, device=unit.device)
    return cosine[rows, columns]


def _quantile(cosines: Tensor, share: float) -> Tensor:
    """The value above which the share of the cosines (P,) lies, midway between two of them, past any rounding."""
    if not len(cosines) or cosines.max() - cosines.min() < _SPREAD:
        return cosines.new_tensor(2.0)
    below = min(max(1, len(cosines) - round(share * len(cosines))), len(cosines) - 1)
    return (cosines.kthvalue(below).values + cosines.kthvalue(below + 1).values) / 2


def _number(value: Tau, given: Tau) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise UserError(f"tau is {given!r}, which is not a number.\n{_LEGAL}") from None
