"""MaskCut: several objects of an image, by one normalized cut after the other."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from segtricks.discovery.eigen import smallest_eigenvectors
from segtricks.discovery.inputs import check_features, in_parts, usable
from segtricks.errors import UserError
from segtricks.losses.tau import Tau, threshold
from segtricks.refine.components import component_of

_CORNERS = 3
"""So many corners of the image on one side make it the background."""


class MaskCutResult(NamedTuple):
    """Objects of each image, one a round.

    ``masks`` (B, rounds, h, w) float32 of 0 and 1, disjoint, zeros where a round found nothing; ``eigenvectors``
    (B, rounds, h, w) float32, positive at the seed; ``seeds`` (B, rounds) int64, patches row by row, -1 where there was
    nothing to cut.
    """

    masks: Tensor
    eigenvectors: Tensor
    seeds: Tensor


@torch.no_grad()
def maskcut(
    features: Tensor,
    tau: Tau = 0.15,
    eps: float = 1e-5,
    *,
    rounds: int = 3,
    max_overlap: float = 0.5,
    min_area: float = 0.01,
    skip_refused: bool = False,
) -> MaskCutResult:
    """Cut the graph of patches, take the found object out of it, and cut again.

    A round cuts as :func:`segtricks.discovery.tokencut` does. The foreground is the side of the eigenvector's peak, but
    the other one where that side holds three corners of the image. Its 4-connected component around the seed, the
    largest entry of the eigenvector, is the object. From the second round on an object is refused that overlaps the
    one of the round before, or is too small. The patches of all objects found so far weigh ``eps`` in later rounds, and
    are taken out of later masks.

    ``rounds`` is a maximum. As published, a refused object stays in the graph, so that every later round finds it
    again. ``skip_refused`` takes it out of the graph as well, and later rounds look further.

    An image whose graph has nothing to cut (uniform; no two patches alike; a single patch) or whose features are not
    finite gets empty masks, eigenvectors of zeros and seeds of -1.

    Args:
        features: (B, D, h, w), keys of the last block; no class token.
        tau: cosine threshold in [-1, 1], or ``share:X`` of each image's pairs (:mod:`segtricks.losses.tau`).
        eps: weight of the other edges.
        rounds: objects of an image, at most.
        max_overlap: IoU with the object of the round before, above which an object is refused.
        min_area: share of the patches up to which an object is refused.
        skip_refused: take refused objects out of the graph too.

    Raises:
        UserError: features that are not float (B, D, h, w), a ``tau`` out of range, or no round.

    Source: Wang, Girdhar, Yu and Misra, "Cut and Learn for Unsupervised Object Detection and Instance Segmentation",
    CVPR 2023, section 3.2. There the sign of the eigenvector, which is free, decides whether the corners are looked at;
    here its peak is positive, and they always are.
    """
    check_features(features)
    if rounds < 1:
        raise UserError(f"rounds must be at least 1, got {rounds}: the paper takes 3.")

    def cut(part: Tensor) -> MaskCutResult:
        return _maskcut(part, tau, eps, rounds, max_overlap, min_area, skip_refused)

    return in_parts(cut, features)


def mask_contrast(features: Tensor, masks: Tensor) -> Tensor:
    """Return how much more alike a mask's patches are to each other than to the others, (B, n).

    It is the mean cosine of all pairs within the mask, less that of all pairs of a patch within and one outside; 0 for
    a mask that is empty or full.

    Args:
        features: (B, D, h, w).
        masks: (B, n, h, w) of 0 and 1.
    """
    unit = normalize(features.float().flatten(2), dim=1)
    inside = masks.flatten(2).float()
    within = inside @ unit.mT / inside.sum(dim=2, keepdim=True).clamp_min(1)
    outside = (1 - inside) @ unit.mT / (1 - inside).sum(dim=2, keepdim=True).clamp_min(1)
    contrast = (within * (within - outside)).sum(dim=2)
    return torch.where(inside.amin(dim=2) < inside.amax(dim=2), contrast, 0.0)


def _maskcut(
    features: Tensor, tau: Tau, eps: float, rounds: int, max_overlap: float, min_area: float, skip_refused: bool
) -> MaskCutResult:
    features, sound = usable(features)
    batch, _, height, width = features.shape
    with torch.autocast(features.device.type, enabled=False):
        unit = normalize(features.flatten(2), dim=1)
        weights = (unit.mT @ unit).gt_(threshold(unit, tau)).clamp_min_(eps)
    before = torch.zeros(batch, height * width, dtype=torch.bool, device=features.device)
    taken = before.clone()
    results = []
    for number in range(rounds):
        vectors, seed, found = _cut(weights, height, width)
        found &= sound
        vectors = torch.where(found[:, None], vectors, 0.0)
        inside = vectors > vectors.mean(dim=1, keepdim=True)
        component = component_of(inside.view(batch, 1, height, width), seed).flatten(1)
        refused = torch.zeros_like(found)
        if number:
            small = component.float().mean(dim=1) <= min_area
            refused = (_overlap(component, before) > max_overlap) | small
        before = component & ~refused[:, None]
        results.append((before & ~taken, vectors, torch.where(found, seed, -1)))
        taken |= before
        out = component if skip_refused else before
        weights.masked_fill_(out[:, :, None] | out[:, None, :], eps)
    masks, eigenvectors, seeds = (torch.stack(field, dim=1) for field in zip(*results, strict=True))
    grid = (batch, rounds, height, width)
    return MaskCutResult(masks.view(grid).float(), eigenvectors.view(grid).float(), seeds)


def _cut(weights: Tensor, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Second eigenvectors (B, N) with the foreground positive, their largest entries, and whether there is a cut."""
    spectrum = smallest_eigenvectors(weights, 2)
    vectors = spectrum.vectors[:, :, -1]  # its peak is positive
    inside = (vectors > vectors.mean(dim=1, keepdim=True)).view(-1, height, width)
    edges = torch.stack([inside[:, 0], inside[:, -1]], dim=1)
    corners = (edges[:, :, 0].int() + edges[:, :, -1].int()).sum(dim=1)
    vectors = torch.where((corners >= _CORNERS)[:, None], -vectors, vectors)
    return vectors, vectors.argmax(dim=1), ~spectrum.flat


def _overlap(component: Tensor, other: Tensor) -> Tensor:
    """IoU of masks (B, N) bool."""
    union = (component | other).sum(dim=1)
    return (component & other).sum(dim=1) / union.clamp_min(1)
