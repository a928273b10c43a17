"""Which refined masks are kept, and how they come to the photograph's size."""

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from segtricks.refine.components import fill_holes


def select_masks(masks: Tensor, refined: Tensor, *, min_iou: float = 0.5) -> Tensor:
    """Return the refined masks (n, H, W) bool with their holes filled, all False where they are dropped.

    Dropped is a mask that refinement changed too much: its IoU with what it was before is below ``min_iou``.

    Args:
        masks: (n, H, W) bool, before refinement.
        refined: (n, H, W) bool, after it.
        min_iou: of the mask before, and after with its holes filled.

    Source: the published code of CutLER (Wang et al., CVPR 2023).
    """
    masks, refined = torch.as_tensor(masks).bool(), torch.as_tensor(refined).bool()
    filled = fill_holes(refined[:, None])[:, 0]
    kept = refined_iou(masks, filled) >= min_iou
    return filled & kept[:, None, None]


def refined_iou(masks: Tensor, others: Tensor) -> Tensor:
    """Return the IoU of each mask with its other, both (n, H, W) bool: (n,), 0 where both are empty."""
    masks, others = masks.flatten(1), others.flatten(1)
    union = (masks | others).sum(dim=1)
    return (masks & others).sum(dim=1) / union.clamp_min(1)


def resize_mask(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Return a mask (H, W) bool at ``size`` (height, width): bicubic, cut at half of its maximum."""
    picture = Image.fromarray(mask.astype(np.uint8) * np.uint8(255))
    resized = np.asarray(picture.resize((size[1], size[0]), Image.Resampling.BICUBIC))
    inside: NDArray[np.bool_] = resized > resized.max() / 2
    return inside
