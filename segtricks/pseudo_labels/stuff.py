"""Maps of stuff without training: k-means of patch features."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from segtricks.pseudo_labels.kmeans import kmeans

SAMPLED = 2**16
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
    patches = torch.cat([unit_patches(each) for each in features])
    step = -(-len(patches) // SAMPLED)
    centroids = kmeans(patches[::step], clusters, seed=seed, tries=tries).centroids
    return [nearest_stuff(each, size, centroids) for each, size in zip(features, sizes, strict=True)]


def unit_patches(features: Tensor) -> Tensor:
    """Return features (D, h, w) as patches (h w, D) of unit length."""
    return normalize(features.float(), dim=0).flatten(1).T


def nearest_stuff(features: Tensor, size: tuple[int, int], centroids: Tensor) -> Tensor:
    """Return the nearest of the centroids (S, D) to features (D, h, w) at each pixel: (H, W) int64."""
    unit = normalize(features.float(), dim=0)
    # But for a term that all centroids share, distances are linear: enlarging them is enlarging the features.
    distances = centroids.square().sum(dim=1)[:, None, None] - 2 * torch.einsum("kd,dhw->khw", centroids, unit)
    return interpolate(distances[None], size, mode="bilinear")[0].argmin(dim=0)
