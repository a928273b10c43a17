"""FOUND's first step: what resembles the patch that is attended to least is background."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from segtricks.discovery.inputs import check_features, mask_boxes, usable
from segtricks.errors import UserError
from segtricks.losses.tau import Tau
from segtricks.losses.tau import threshold as threshold_of

_TINY = 1e-10  # share of a head that attends to nothing: its weight stays finite


class FoundResult(NamedTuple):
    """Background of each image and its complement.

    ``background`` and ``mask`` (B, 1, h, w) float32 of 0 and 1, their sum 1; ``seed`` (B,) index of the background's
    seed, row by row, -1 for a broken image; ``box`` (B, 4) int64 x0, y0, x1, y1 around the mask, half-open.
    """

    background: Tensor
    mask: Tensor
    seed: Tensor
    box: Tensor


@torch.no_grad()
def found_background(features: Tensor, attention: Tensor, threshold: Tau = 0.3, *, patch_size: int = 1) -> FoundResult:
    """Mark as background all patches like the one that the class token attends to least.

    Head h has weight β = log(Σ q / q_h), q_h being the share of patches with attention above the image's mean over all
    heads: few attended patches weigh more. β scales both the head's attention and its part of the features.

    An image whose features or attention are not finite, whose features are all zero, or the seed's too small or large
    to have a direction, is background everywhere: an empty mask, the seed -1 and a box of zeros. So is a uniform one,
    with a seed.

    Args:
        features: (B, D, h, w), keys of the last block, the heads' channels one after the other; no class token.
        attention: (B, heads, N) softmax attention of the class token to the N = h·w patches, or (B, heads, 1 + N) with
            the class token itself first.
        threshold: cosine with the seed above which a patch is background, or ``share:X`` of each image's pairs of
            weighted features (:mod:`segtricks.losses.tau`).
        patch_size: unit of the boxes in pixels; 1 leaves them in patches.

    Raises:
        UserError: features that are not float (B, D, h, w), attention that does not fit them, or a threshold out of
            range.

    Source: Siméoni et al., "Unsupervised Object Localization: Observing the Background to Discover Objects", CVPR 2023,
    section 3.1.
    """
    check_features(features)
    features, sound = usable(features)
    batch, dim, height, width = features.shape
    patches = height * width
    if attention.ndim != 3 or attention.shape[0] != batch or attention.shape[2] not in (patches, patches + 1):
        raise UserError(f"attention must be (B, heads, N) with B={batch}, N={patches}, got {tuple(attention.shape)}.")
    heads = attention.shape[1]
    if dim % heads:
        raise UserError(f"{dim} channels cannot be split into the {heads} heads of the attention.")
    attention = attention[:, :, -patches:].float()
    sound &= torch.isfinite(attention).flatten(1).all(dim=1)
    attention = torch.where(sound[:, None, None], attention, 0.0)
    share = (attention > attention.mean(dim=(1, 2), keepdim=True)).float().mean(dim=2) + _TINY
    beta = (share.sum(dim=1, keepdim=True) / share).log()
    with torch.autocast(features.device.type, enabled=False):
        unit = normalize(
            (features.unflatten(1, (heads, -1)) * beta[:, :, None, None, None]).flatten(1, 2).flatten(2), dim=1
        )
        seed = (attention * beta[:, :, None]).sum(dim=1).argmin(dim=1)
        of_seed = unit.gather(2, seed[:, None, None].expand(-1, dim, 1))
        sound &= of_seed.norm(dim=1)[:, 0] > 0.5
        cosine = (unit * of_seed).sum(dim=1)
        level = threshold_of(unit, threshold)
        level = level[:, 0] if isinstance(level, Tensor) else level
    background = ((cosine > level) | ~sound[:, None]).float().view(batch, 1, height, width)
    mask = 1 - background
    return FoundResult(background, mask, torch.where(sound, seed, -1), mask_boxes(mask, patch_size))
