"""Drop small segments from binary masks."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

_EIGHT = np.ones((3, 3), bool)

Mask = NDArray[np.bool_]


class Kept(NamedTuple):
    """Masks without small segments, and which images keep enough of theirs.

    Args:
        mask: (B, 1, H, W), 0 where a segment was dropped; all 0 where the image is not kept.
        kept: (B,) bool, on the device of the masks.
    """

    mask: Tensor
    kept: Tensor


def drop_small_segments(mask: Tensor, min_area: float = 0.01) -> Kept:
    """Drop the 8-connected segments that cover less than a share of the image, holes included.

    As published, a hole of less than this share is dropped too, and the foreground that touches it along an edge with
    it: small holes grow by a pixel. An image is not kept where less than the share is left.

    Args:
        mask: (B, 1, H, W), 0 and 1 or bool; the result has its dtype.
        min_area: share of the pixels, 0 to 1.

    Raises:
        ValueError: masks of another shape.

    Source: Van Gansbeke et al., ICCV 2021; their code fills the contours that OpenCV finds, and so does this.
    """
    if mask.ndim != 4 or mask.shape[1] != 1:
        raise ValueError(f"mask must be (B, 1, H, W), got {tuple(mask.shape)}")
    smallest = min_area * mask.shape[-2:].numel()
    inputs = (mask > 0)[:, 0].cpu().numpy()
    left = torch.zeros(mask.shape, dtype=torch.bool)
    for result, image in zip(left[:, 0], inputs, strict=True):
        result.copy_(torch.from_numpy(_without_small(image, smallest)))
    kept = left.sum(dim=(1, 2, 3)) >= smallest
    left &= kept[:, None, None, None]
    return Kept(left.to(mask), kept.to(mask.device))


def _without_small(foreground: Mask, smallest: float) -> Mask:
    dropped = np.zeros_like(foreground)
    for window, segment in _components(foreground, _EIGHT):
        _drop(dropped[window], segment, smallest)
    for window, hole in _components(ndimage.binary_fill_holes(foreground) & ~foreground):
        touched = ndimage.binary_dilation(hole) & foreground[window]
        _drop(dropped[window], hole | touched, smallest)
    return foreground & ~dropped


def _drop(dropped: Mask, outline: Mask, smallest: float) -> None:
    filled = ndimage.binary_fill_holes(outline)
    if filled.sum() < smallest:
        dropped |= filled


def _components(mask: Mask, structure: Mask | None = None) -> Iterator[tuple[tuple[slice, ...], Mask]]:
    """Components, each with its window: its box and a margin of one pixel."""
    labels, _ = ndimage.label(mask, structure)
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        window = tuple(slice(max(0, side.start - 1), side.stop + 1) for side in box)
        yield window, labels[window] == number
