"""k-means of instance features: pseudo-classes that one can repeat to the last label."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from segtricks.errors import UserError

_ROWS = 2**14
"""Features whose distances to all centroids are held at once."""


class KMeansResult(NamedTuple):
    """``labels`` (N,) int64 from 0 to K - 1, and ``centroids`` (K, D) float32."""

    labels: Tensor
    centroids: Tensor


@torch.no_grad()
def kmeans(
    features: Tensor,
    clusters: int,
    *,
    iterations: int = 100,
    seed: int = 0,
    start: Sequence[int] | Tensor | None = None,
    tries: int = 1,
) -> KMeansResult:
    """Return Lloyd's clusters in Euclidean distance.

    An iteration assigns each feature to its nearest centroid, the first of equals, and moves each centroid to the mean
    of its features; a centroid without any stays where it is. The labels are those of the last assignment.

    Args:
        features: (N, D), finite.
        clusters: K.
        iterations: at least 1.
        seed: the centroids start at the first K features of a random permutation of this seed.
        start: (K,) features at which they start instead.
        tries: start so often, with the next seeds, and keep the clusters whose features are nearest to their centroids
            in the mean square.

    Raises:
        UserError: more clusters than features, features that are not finite, or a start that is not K of them.

    Source: the published code of U2Seg (Niu et al., CVPR 2024).
    """
    features = torch.as_tensor(features).float()
    _check(features, clusters, iterations, tries)
    if start is not None:
        return _lloyd(features, _checked_start(start, len(features), clusters), iterations)
    starts = (torch.randperm(len(features), generator=torch.Generator().manual_seed(seed + k)) for k in range(tries))
    return min((_lloyd(features, start[:clusters], iterations) for start in starts), key=partial(_spread, features))


def _lloyd(features: Tensor, start: Tensor, iterations: int) -> KMeansResult:
    clusters = len(start)
    centroids = features[start.to(features.device)]
    middle = features.mean(dim=0)
    labels = torch.full((len(features),), -1, device=features.device)
    for _ in range(iterations):
        before, labels = labels, _nearest(features, centroids, middle)
        if torch.equal(before, labels):
            break  # all later iterations would be the same
        counts = torch.bincount(labels, minlength=clusters)[:, None]
        sums = torch.zeros_like(centroids).index_add_(0, labels, features)
        centroids = torch.where(counts > 0, sums / counts.clamp_min(1), centroids)
    return KMeansResult(labels, centroids)


def _checked_start(start: Sequence[int] | Tensor, count: int, clusters: int) -> Tensor:
    start = torch.as_tensor(start).long()
    if start.shape != (clusters,) or int(start.min()) < 0 or int(start.max()) >= count:
        raise UserError(f"start must be {clusters} numbers of features, from 0 to {count - 1}, got {start.tolist()}.")
    return start


def _spread(features: Tensor, found: KMeansResult) -> float:
    parts = zip(features.split(_ROWS), found.labels.split(_ROWS), strict=True)
    return sum(float((part - found.centroids[own]).square().sum()) for part, own in parts)


def _nearest(features: Tensor, centroids: Tensor, middle: Tensor) -> Tensor:
    """Places of the nearest centroids, (N,). Taken about the middle of all, so that large numbers do not cancel."""
    with torch.autocast(features.device.type, enabled=False):
        centroids = centroids - middle
        squares = centroids.square().sum(dim=1)
        parts = [(squares - 2 * (part - middle) @ centroids.T).argmin(dim=1) for part in features.split(_ROWS)]
    return torch.cat(parts)


def _check(features: Tensor, clusters: int, iterations: int, tries: int) -> None:
    if features.ndim != 2:
        raise UserError(f"features must be (N, D), got {tuple(features.shape)}.")
    if min(clusters, iterations, tries) < 1:
        raise UserError(f"clusters, iterations and tries must be at least 1, got {clusters}, {iterations} and {tries}.")
    if clusters > len(features):
        raise UserError(f"{clusters:,} clusters need as many features, got {len(features):,}: pass fewer clusters.")
    if not bool(features.isfinite().all()):
        raise UserError("features hold nan or infinity, and have no distances.")
