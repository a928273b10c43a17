"""SelfMask's candidates: k-means on the eigenvectors of the dense graph of patches."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from segtricks.discovery.eigen import Spectrum, smallest_eigenvectors
from segtricks.discovery.inputs import check_features, usable
from segtricks.errors import UserError

_RESTARTS, _ITERATIONS = 10, 300
_ALIKE = 1e-5  # cosines that spread less than this are one: the rest is rounding


@torch.no_grad()
def spectral_affinity(features: Tensor) -> Tensor:
    """Return the cosines of all pairs of patches, stretched to 0..1 over the whole matrix of each image: (B, N, N).

    Where all cosines are equal, all weights are 1.

    Args:
        features: (B, D, h, w), N = h·w row by row.

    Raises:
        UserError: features that are not float (B, D, h, w).
    """
    check_features(features)
    with torch.autocast(features.device.type, enabled=False):
        unit = normalize(features.float().flatten(2), dim=1)
        weights = unit.mT @ unit
        # In place: a photograph of 400 x 300 pixels has 7,500 nodes at stride 8, and 225 MB a matrix.
        weights.sub_(weights.amin((1, 2), keepdim=True))
        largest = weights.amax((1, 2), keepdim=True)
        return weights.div_(largest.clamp_min(_ALIKE)).masked_fill_(largest <= _ALIKE, 1.0)


def spectral_clusters(features: Tensor, k: int, upsample: int = 2, seed: int = 0) -> Tensor:
    """Return the cluster of each node, int64 (B, upsample * h, upsample * w).

    Features are enlarged bilinearly with aligned corners; k-means partitions the nodes by the k smallest eigenvectors
    of (D - A) v = λ D v with A of :func:`spectral_affinity`, the constant one included. An image whose graph has
    nothing to cut, or whose features are not finite, is one cluster.

    Args:
        features: (B, D, h, w).
        k: number of clusters, at least 1.
        upsample: factor of the grid of nodes.
        seed: of k-means. Where k exceeds what the image holds, another seed gives another partition.

    Raises:
        UserError: features that are not float (B, D, h, w), or a number below 1.

    Source: Shin, Albanie and Xie, CVPRW 2022, section 3.1.
    """
    _check(features, k, upsample)
    if not len(features):
        grid = [upsample * side for side in features.shape[-2:]]
        return torch.zeros(0, *grid, dtype=torch.int64, device=features.device)
    return torch.stack([clusters_of_image(image, (k,), upsample, seed)[0] for image in features])


@torch.no_grad()
def clusters_of_image(features: Tensor, ks: tuple[int, ...], upsample: int = 2, seed: int = 0) -> Tensor:
    """Return :func:`spectral_clusters` of one image for several k, which share the eigenvectors: (len(ks), h, w)."""
    sound_features, sound = usable(features[None])
    nodes = interpolate(sound_features, scale_factor=upsample, mode="bilinear", align_corners=True)
    height, width = nodes.shape[-2:]
    spectrum: Spectrum = smallest_eigenvectors(spectral_affinity(nodes), max(ks))
    labels = torch.zeros(len(ks), height * width, dtype=torch.int64)
    if bool(sound) and not bool(spectrum.flat):
        vectors = spectrum.vectors[0].cpu().numpy()
        for place, k in enumerate(ks):
            labels[place] = torch.from_numpy(_kmeans(vectors[:, :k], k, seed))
    return labels.view(-1, height, width).to(features.device)


def _kmeans(rows: NDArray[np.float64], k: int, seed: int) -> NDArray[np.int64]:
    from sklearn.cluster import KMeans  # takes a second to import

    clusters = KMeans(min(k, len(rows)), n_init=_RESTARTS, max_iter=_ITERATIONS, random_state=seed)
    labels: NDArray[np.int64] = clusters.fit_predict(rows).astype(np.int64)
    return labels


def _check(features: Tensor, k: int, upsample: int) -> None:
    check_features(features)
    if min(k, upsample) < 1:
        raise UserError(f"k and upsample must be at least 1, got {k} and {upsample}.")
