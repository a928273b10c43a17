"""LOST: grow an object from the patch that has the fewest similar ones."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from segtricks.discovery.inputs import check_features, in_parts, mask_boxes, usable
from segtricks.errors import UserError
from segtricks.losses.tau import Tau, threshold
from segtricks.refine.components import component_of


class LostResult(NamedTuple):
    """Object of each image.

    ``mask`` (B, 1, h, w) float32 of 0 and 1; ``seed`` (B,) index of a patch, row by row, -1 without object; ``box``
    (B, 4) int64 x0, y0, x1, y1, half-open; ``degree`` (B, 1, h, w) int64, similar patches of each patch.
    """

    mask: Tensor
    seed: Tensor
    box: Tensor
    degree: Tensor


@torch.no_grad()
def lost(features: Tensor, k: int = 100, tau: Tau = 0.0, *, patch_size: int = 1) -> LostResult:
    """Start from the patch with the fewest similar patches and add what resembles it.

    Two patches are similar if their inner product, less ``tau`` times the product of their lengths, is positive: at
    0, the paper's, if the inner product is. Of the ``k`` patches of smallest degree, those similar
    to the seed vote; the patches whose summed similarity to them is positive are the foreground, of which the
    4-connected component around the seed stays. Of equal degrees the first patch counts.

    An image where every patch is similar to every other has no seed; it, and one whose features are not finite or all
    zero, gets an empty mask, the seed -1 and a box of zeros.

    Args:
        features: (B, D, h, w), keys of the last block, not normalised; no class token.
        k: patches that may vote; a smaller grid has no more than its own.
        tau: cosine above which two patches are similar, or ``share:X`` of each image's pairs
            (:mod:`segtricks.losses.tau`).
        patch_size: unit of the boxes in pixels; 1 leaves them in patches.

    Raises:
        UserError: features that are not float (B, D, h, w), ``k`` not positive, or a ``tau`` out of range.

    Source: Siméoni et al., "Localizing Objects with Self-Supervised Transformers and no Labels", BMVC 2021.
    """
    if k < 1:
        raise UserError(f"k must be at least 1, got {k}; the paper takes 100.")
    check_features(features)
    return in_parts(lambda part: _lost(part, k, tau, patch_size), features)


def _lost(features: Tensor, k: int, tau: Tau, patch_size: int) -> LostResult:
    features, sound = usable(features)
    batch, _, height, width = features.shape
    with torch.autocast(features.device.type, enabled=False):
        tokens = features.flatten(2)
        similarity = tokens.mT @ tokens
        if tau != 0:
            length = tokens.norm(dim=1)
            similarity -= threshold(normalize(tokens, dim=1), tau) * length[:, :, None] * length[:, None]
    similar = similarity > 0
    similar.diagonal(dim1=1, dim2=2).fill_(False)
    degree = similar.sum(dim=2)
    order = degree.argsort(dim=1, stable=True)
    seed = order[:, 0]
    rank = torch.empty_like(order).scatter_(
        1, order, torch.arange(order.shape[1], device=order.device).expand_as(order)
    )
    to_seed = similarity.gather(1, seed[:, None, None].expand(-1, 1, order.shape[1]))[:, 0]
    voters = ((rank < k) & (to_seed > 0)).float()
    votes = (voters[:, None] @ similarity)[:, 0]
    found = sound & (degree.amin(dim=1) < degree.shape[1] - 1)
    inside = (votes > 0) & found[:, None]
    mask = component_of(inside.view(batch, 1, height, width), seed).float()
    degree = torch.where(sound[:, None], degree, 0).view(batch, 1, height, width)
    return LostResult(mask, torch.where(found, seed, -1), mask_boxes(mask, patch_size), degree)
