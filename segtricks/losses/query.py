"""SelfMask's losses: every query learns the same mask, and their objectness learns to rank them."""

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torch.nn.functional import interpolate

RankingOrder = Literal["better_higher", "published_code"]


class SelfMaskLoss(NamedTuple):
    """``total`` is ``dice`` + ``ranking``: sums over layers and queries, means over the images. Scalars."""

    total: Tensor
    dice: Tensor
    ranking: Tensor


def query_dice_loss(masks: Tensor, target: Tensor) -> Tensor:
    """Return 1 - (2 Σpy + 1) / (Σp + Σy + 1) of each mask, (B, L, Q), p being enlarged bilinearly to the target's size.

    Enlarging is linear, so here the target is brought to the masks by its transpose: the same sums, without 120 large
    masks an image.

    Args:
        masks: (B, L, Q, h, w) probabilities.
        target: (B, 1, H, W) of 0 and 1.
    """
    with torch.autocast(masks.device.type, enabled=False):
        masks, target = masks.float(), target.float()
        rows = _enlarging(masks.shape[-2], target.shape[-2], masks.device)
        columns = _enlarging(masks.shape[-1], target.shape[-1], masks.device)
        reduced = rows @ target @ columns.mT
        areas = rows.sum(1)[:, None] * columns.sum(1)
        shared = torch.einsum("blqhw,bhw->blq", masks, reduced[:, 0])
        covered = torch.einsum("blqhw,hw->blq", masks, areas)
        return 1 - (2 * shared + 1) / (covered + target.sum((1, 2, 3))[:, None, None] + 1)


def _enlarging(size: int, larger: int, device: torch.device) -> Tensor:
    """Weights (size, larger) of linear interpolation along one side."""
    identity = torch.eye(size, device=device)[None]
    return interpolate(identity, size=larger, mode="linear", align_corners=False)[0]


def query_ranking_loss(objectness: Tensor, cost: Tensor, order: RankingOrder = "better_higher") -> Tensor:
    """Return Σ max(0, s_i - s_j) over all pairs in which i costs more than j: the better query shall score higher.

    Args:
        objectness: (..., Q) scores s in [0, 1].
        cost: (..., Q), of which the order alone counts: no gradient reaches it.
        order: ``published_code`` reverses the sign within the maximum, as the released code does by mistake: it draws
            the scores of good masks below those of bad ones.

    Returns:
        (...), float32.

    Raises:
        ValueError: if ``order`` is unknown.
    """
    if order not in get_args(RankingOrder):
        raise ValueError(f"order must be {' or '.join(get_args(RankingOrder))}, got {order!r}")
    worst_first = cost.detach().argsort(dim=-1, descending=True, stable=True)
    ranked = objectness.float().gather(-1, worst_first)
    difference = ranked[..., :, None] - ranked[..., None, :]
    if order == "published_code":
        difference = -difference
    return difference.relu().triu(1).sum((-2, -1))


def selfmask_loss(
    masks: Tensor, objectness: Tensor, target: Tensor, order: RankingOrder = "better_higher"
) -> SelfMaskLoss:
    """Return the objective of a batch; an image with an empty target adds nothing, but counts in the mean.

    Args:
        masks: (B, L, Q, h, w) probabilities.
        objectness: (B, L, Q) probabilities.
        target: (B, 1, H, W) of 0 and 1.
        order: see :func:`query_ranking_loss`.

    Source: Shin, Albanie and Xie, CVPRW 2022, and its published code.
    """
    cost = query_dice_loss(masks, target)
    present = target.flatten(1).any(1).float()
    dice = (cost.sum((1, 2)) * present).mean()
    ranking = (query_ranking_loss(objectness, cost, order).sum(1) * present).mean()
    return SelfMaskLoss(dice + ranking, dice, ranking)
