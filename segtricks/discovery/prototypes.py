"""One vector for each region of an image, and k-means over the regions of many images."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from segtricks.errors import UserError

_BATCH = 1000


class PrototypeClusters(NamedTuple):
    """Clusters of vectors: ``labels`` int64 (N,) from 0 on, and the ``whitened`` vectors (N, components) they are of.

    The sign of each component is free.
    """

    labels: Tensor
    whitened: Tensor


def cluster_prototypes(
    prototypes: Tensor,
    num_clusters: int = 20,
    components: int = 32,
    seed: int = 1234,
    restarts: int = 3,
    unit: bool = False,
) -> PrototypeClusters:
    """Cluster vectors by mini-batch k-means after whitened PCA, fitted on themselves.

    Args:
        prototypes: (N, D), N and D not below ``components``, N not below ``num_clusters``.
        num_clusters: number of clusters.
        components: of the PCA.
        seed: of both.
        restarts: random starts of which the best is kept. 3 was scikit-learn's number when the method was published;
            its ``n_init="auto"`` means 1 today.
        unit: scale the whitened vectors to unit length, so that single odd ones do not become clusters.

    Raises:
        UserError: too few vectors or dimensions; the message has the largest legal numbers.

    Source: Van Gansbeke et al., ICCV 2021.
    """
    count, dim = prototypes.shape
    if count < max(num_clusters, components) or dim < components or num_clusters < 1:
        raise UserError(
            f"{count} vectors of {dim} numbers do not make {num_clusters} clusters in {components} components: at most "
            f"{count} clusters and {min(count, dim)} components are possible."
        )
    from sklearn.cluster import MiniBatchKMeans  # takes a second to import
    from sklearn.decomposition import PCA

    vectors = prototypes.detach().float().cpu().numpy()
    whitened = PCA(n_components=components, whiten=True, random_state=seed).fit_transform(vectors)
    if unit:
        whitened /= np.linalg.norm(whitened, axis=1, keepdims=True).clip(min=1e-12)
    kmeans = MiniBatchKMeans(num_clusters, batch_size=_BATCH, n_init=restarts, random_state=seed)
    labels = torch.from_numpy(kmeans.fit_predict(whitened)).long()
    return PrototypeClusters(labels.to(prototypes.device), torch.from_numpy(whitened).to(prototypes.device))


def pool_regions(features: Tensor, weights: Tensor) -> Tensor:
    """Return one unit vector for each region: the weighted sum of the features, enlarged bilinearly to its size.

    The features are not enlarged; the weights go down to their grid by the transposed interpolation, which gives the
    same sums.

    Args:
        features: (D, h, w).
        weights: (n, H, W), bool or float, of any size.

    Returns:
        (n, D) of the dtype of the features; 0 where the sum is 0.
    """
    rows, columns = (
        _enlargement(small, large, weights.device)
        for small, large in zip(features.shape[-2:], weights.shape[-2:], strict=True)
    )
    on_grid = rows @ weights.double() @ columns.mT
    sums = torch.einsum("nhw,dhw->nd", on_grid, features.double())
    return normalize(sums, dim=1).to(features.dtype)


def _enlargement(small: int, large: int, device: torch.device) -> Tensor:
    """The matrix (small, large) of bilinear enlargement along one side."""
    unit = torch.eye(small, dtype=torch.float64, device=device)[None]
    return interpolate(unit, size=large, mode="linear", align_corners=False)[0]
