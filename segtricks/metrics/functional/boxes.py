"""One box from a mask, and whether it finds an object."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segtricks.refine.components import connected_components
from segtricks.words import Select


def mask_box(mask: Tensor, select: Select = "largest_bbox", threshold: float = 0.5, seed: Any = None) -> Tensor | None:
    """Return the box of one connected component (4-neighbourhood) of ``mask > threshold``.

    Args:
        mask: (1, H, W) or (H, W) probabilities, or bool.
        select: ``largest_bbox`` takes the component whose box is largest, as the paper does; ``largest_area`` the one
            of most pixels (FOUND, Deep Spectral); ``seed`` the one that holds the seed (LOST, TokenCut). Of several,
            the first row by row.
        threshold: foreground is above it.
        seed: row and column; by default the mask's largest value, the first of several.

    Returns:
        (4,) int64, half-open x0, y0, x1, y1 in pixels; None where the mask is empty or the seed lies on background.
    """
    values = mask.reshape(mask.shape[-2:])
    components = connected_components((values > threshold).cpu().numpy())
    if not len(components.area):
        return None
    if select == "seed":
        row, column = divmod(int(values.float().argmax()), values.shape[1]) if seed is None else map(int, seed)
        index = components.at(row, column)
        return None if index is None else torch.from_numpy(components.boxes[index])
    sizes = _areas(components.boxes) if select == "largest_bbox" else components.area
    return torch.from_numpy(components.boxes[int(sizes.argmax())])


def is_hit(box: Tensor | None, boxes: Tensor) -> bool:
    """Return whether ``box`` (4,) has an IoU of at least 0.5 with any of ``boxes`` (n, 4), all half-open."""
    if box is None or not len(boxes):
        return False
    one, many = box.double().cpu().numpy(), boxes.double().cpu().numpy().reshape(-1, 4)
    inner = np.concatenate([np.maximum(one[:2], many[:, :2]), np.minimum(one[2:], many[:, 2:])], axis=1)
    shared = _areas(inner)
    # No division: an IoU of exactly one half is a hit.
    return bool((2 * shared >= _areas(one[None]) + _areas(many) - shared).any())


def _areas(boxes: NDArray[Any]) -> NDArray[Any]:
    sides: NDArray[Any] = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None)
    return sides[:, 0] * sides[:, 1]
