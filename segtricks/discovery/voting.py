"""SelfMask's vote: of many candidate masks of an image, the one that most agree with."""

from typing import NamedTuple

import torch
from torch import Tensor

from segtricks.discovery.inputs import mask_boxes
from segtricks.errors import UserError

_SMALLEST, _LARGEST = 0.05, 0.95  # share of the image: of a mask's area, of its box


class Vote(NamedTuple):
    """The winner of a vote.

    ``mask`` (H, W) bool; ``index`` its place among the candidates; ``kept`` (m,) int64 the places of those that took
    part, and ``votes`` (m,) float32 the sum of each one's IoU with all of them, itself included.
    """

    mask: Tensor
    index: int  # type: ignore[assignment]  # it hides a method that tuples have
    votes: Tensor
    kept: Tensor


def vote_mask(candidates: Tensor, drop_spanning: bool = True, drop_sizes: bool = False) -> Vote:
    """Return the candidate whose IoU with all others is largest in sum.

    Empty candidates take no part; if nothing is left, all do, the empty ones too.

    Args:
        candidates: (n, H, W), foreground is above 0.
        drop_spanning: leave out masks that touch both top and bottom, or both left and right: the framing prior.
        drop_sizes: leave out masks of less than 5 % of the image, and those whose box covers more than 95 % of it.

    Raises:
        UserError: there are no candidates.

    Source: Shin, Albanie and Xie, CVPRW 2022, section 3.2.
    """
    if candidates.ndim != 3 or not len(candidates):
        raise UserError(f"candidates must be (n, H, W) with n of at least 1, got {tuple(candidates.shape)}.")
    masks = candidates > 0
    kept = _taking_part(masks, drop_spanning, drop_sizes).nonzero()[:, 0]
    if not len(kept):
        kept = torch.arange(len(masks), device=masks.device)
    flat = masks[kept].flatten(1).float()
    areas = flat.sum(1)
    both = flat @ flat.T
    votes = (both / (areas[:, None] + areas - both + 1e-7)).sum(1)
    index = int(kept[votes.argmax()])
    return Vote(masks[index], index, votes, kept)


def _taking_part(masks: Tensor, drop_spanning: bool, drop_sizes: bool) -> Tensor:
    height, width = masks.shape[-2:]
    left, top, right, bottom = mask_boxes(masks[:, None]).unbind(1)
    areas = masks.flatten(1).sum(1)
    taking_part = areas > 0
    if drop_spanning:
        upright = (top == 0) & (bottom == height)
        lying = (left == 0) & (right == width)
        taking_part &= ~(upright | lying)
    if drop_sizes:
        pixels = height * width
        box = (right - left - 1) * (bottom - top - 1)
        taking_part &= (areas >= _SMALLEST * pixels) & (box <= _LARGEST * pixels)
    return taking_part
