"""Deep Spectral Methods: eigenvectors of the patch graph's Laplacian."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from segtricks.discovery.eigen import smallest_eigenvectors
from segtricks.discovery.inputs import check_features, in_parts, mask_boxes, usable
from segtricks.errors import UserError
from segtricks.losses.tau import Tau, threshold
from segtricks.refine.components import largest_component


class DeepSpectralResult(NamedTuple):
    """Object of each image, and the spectrum of its graph.

    ``mask`` (B, 1, h, w) float32 of 0 and 1; ``eigenvalues`` (B, k) float64 ascending from 0; ``eigenvectors``
    (B, N, k) float64 with vᵀDv = 1, N = h·w row by row; ``box`` (B, 4) int64 x0, y0, x1, y1, half-open.
    """

    mask: Tensor
    eigenvalues: Tensor
    eigenvectors: Tensor
    box: Tensor


@torch.no_grad()
def deep_spectral(features: Tensor, k: int = 5, tau: Tau = 0.0, *, patch_size: int = 1) -> DeepSpectralResult:
    """Take the positive side of the second smallest eigenvector, or its complement where it covers over half.

    W is the cosine of two patches less ``tau`` where that is positive, else 0; the eigenvectors are those of
    (D - W) v = λ D v. The sign of an eigenvector is free: here its entry of largest magnitude is positive, and ``mask``
    is the smaller side. The largest 4-connected component of the mask stays.

    An image whose graph has nothing to cut (uniform; no two patches alike; a single patch) or whose features are not
    finite gets an empty mask and a box of zeros; in the latter case the spectrum is zero.

    Args:
        features: (B, D, h, w), keys of the last block; no class token.
        k: eigenpairs to return, the constant one among them; at least 2. A grid of fewer patches has fewer.
        tau: cosine that is taken off, 0 in the paper, or ``share:X``: of each image's pairs, this share keeps a weight
            (:mod:`segtricks.losses.tau`).
        patch_size: unit of the boxes in pixels; 1 leaves them in patches.

    Raises:
        UserError: features that are not float (B, D, h, w), ``k`` below 2, or a ``tau`` out of range.

    Source: Melas-Kyriazi et al., "Deep Spectral Methods", CVPR 2022, section 3; without the colour term.
    """
    if k < 2:
        raise UserError(f"k must be at least 2, got {k}: the first eigenvector is constant; the paper takes 5.")
    check_features(features)
    return in_parts(lambda part: _deep_spectral(part, k, tau, patch_size), features)


def _deep_spectral(features: Tensor, k: int, tau: Tau, patch_size: int) -> DeepSpectralResult:
    features, sound = usable(features)
    batch, _, height, width = features.shape
    with torch.autocast(features.device.type, enabled=False):
        unit = normalize(features.flatten(2), dim=1)
        weights = (unit.mT @ unit).sub_(threshold(unit, tau)).clamp_min_(0)
    # A patch of zeros is like no other: a graph needs every node tied to something, and it is tied to itself.
    lonely = weights.diagonal(dim1=1, dim2=2)
    lonely.copy_(torch.where(lonely > 0, lonely, 1.0))
    spectrum = smallest_eigenvectors(weights, k)
    vectors = torch.where(sound[:, None, None], spectrum.vectors, 0.0)
    values = torch.where(sound[:, None], spectrum.values, 0.0)
    found = sound & ~spectrum.flat
    second = vectors[:, :, min(1, vectors.shape[2] - 1)]
    side = second > 0
    side = torch.where(side.float().mean(dim=1, keepdim=True) > 0.5, ~side, side) & found[:, None]
    mask = largest_component(side.view(batch, 1, height, width)).float()
    return DeepSpectralResult(mask, values, vectors, mask_boxes(mask, patch_size))
