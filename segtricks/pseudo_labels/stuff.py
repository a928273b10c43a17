"""Maps of stuff without training: k-means of patch features."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from segtricks.pseudo_labels.kmeans import kmeans

_SAMPLED = 2**16
"""Patches, evenly spread, that the clusters are made from, at most."""


@torch.no_grad()
def cluster_stuff(
    features: Sequence[Tensor], sizes: Sequence[tuple[int, int]], clusters: int, *, seed: int = 0, tries: int = 1
) -> list[Tensor]:
    """Return a map (H, W) int64 of each photograph, of clusters from 0, by the direction of its features.

    Args:
        features: of each photograph (D, h, w), which are enlarged bilinearly.
        sizes: height and width of each photograph.
        clusters: S.
        seed: of k-means, see :func:`segtricks.pseudo_labels.kmeans`.
        tries: of k-means.

    Raises:
        UserError: more clusters than patches.
    """
    units = [normalize(each.float(), dim=0) for each in features]
    patches = torch.cat([unit.flatten(1).T for unit in units])
    step = -(-len(patches) // _SAMPLED)
    centroids = kmeans(patches[::step], clusters, seed=seed, tries=tries).centroids
    return [_nearest(unit, size, centroids) for unit, size in zip(units, sizes, strict=True)]


def _nearest(unit: Tensor, size: tuple[int, int], centroids: Tensor) -> Tensor:
    # But for a term that all centroids share, distances are linear: enlarging them is enlarging the features.
    distances = centroids.square().sum(dim=1)[:, None, None] - 2 * torch.einsum("kd,dhw->khw", centroids, unit)
    return interpolate(distances[None], size, mode="bilinear")[0].argmin(dim=0)
