"""TokenCut: normalized cut of the patch graph."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from segtricks.discovery.eigen import smallest_eigenvectors
from segtricks.discovery.inputs import check_features, in_parts, mask_boxes, usable
from segtricks.losses.tau import Tau, threshold
from segtricks.refine.components import component_of


class TokenCutResult(NamedTuple):
    """Object of each image.

    ``mask`` (B, 1, h, w) float32 of 0 and 1; ``eigenvector`` (B, 1, h, w) float32, positive at the seed; ``seed`` (B,)
    index of a patch, row by row, -1 without object; ``box`` (B, 4) int64 x0, y0, x1, y1, half-open.
    """

    mask: Tensor
    eigenvector: Tensor
    seed: Tensor
    box: Tensor


@torch.no_grad()
def tokencut(features: Tensor, tau: Tau = 0.2, eps: float = 1e-5, *, patch_size: int = 1) -> TokenCutResult:
    """Cut the graph of patches in two; the foreground is the side of the patch that stands out most.

    W is 1 where the cosine of two patches exceeds ``tau``, else ``eps``. The second smallest eigenvector of
    (D - W) v = λ D v is split at its mean; its entry of largest magnitude is the seed and its side the foreground, of
    which the 4-connected component around the seed stays.

    An image whose graph has nothing to cut (uniform; no two patches alike; a single patch) or whose features are not
    finite gets an empty mask, a zero eigenvector, the seed -1 and a box of zeros.

    Args:
        features: (B, D, h, w), keys of the last block; no class token.
        tau: cosine threshold in [-1, 1], or ``share:X`` of each image's pairs (:mod:`segtricks.losses.tau`).
        eps: weight of the other edges.
        patch_size: unit of the boxes in pixels; 1 leaves them in patches.

    Raises:
        UserError: features that are not float (B, D, h, w), or a ``tau`` out of range.

    Source: Wang et al., "Self-Supervised Transformers for Unsupervised Object Discovery using Normalized Cut",
    CVPR 2022.
    """
    check_features(features)
    return in_parts(lambda part: _tokencut(part, tau, eps, patch_size), features)


def _tokencut(features: Tensor, tau: Tau, eps: float, patch_size: int) -> TokenCutResult:
    features, sound = usable(features)
    batch, _, height, width = features.shape
    with torch.autocast(features.device.type, enabled=False):
        unit = normalize(features.flatten(2), dim=1)
        # In place, as these N x N passes cost as much as the solver: 1 above tau, eps elsewhere.
        weights = (unit.mT @ unit).gt_(threshold(unit, tau)).clamp_min_(eps)
    spectrum = smallest_eigenvectors(weights, 2)
    if height * width < 2:
        vectors = torch.zeros(batch, height * width, device=features.device)
    else:
        vectors = spectrum.vectors[:, :, 1]
    found = sound & ~spectrum.flat
    vectors = torch.where(found[:, None], vectors, 0.0)
    seed = vectors.abs().argmax(dim=1)  # the solver makes this entry positive
    inside = (vectors > vectors.mean(dim=1, keepdim=True)).view(batch, 1, height, width)
    mask = component_of(inside, seed).float()
    return TokenCutResult(
        mask,
        vectors.view(batch, 1, height, width).float(),
        torch.where(found, seed, -1),
        mask_boxes(mask, patch_size),
    )
