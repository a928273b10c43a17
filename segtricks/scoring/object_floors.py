"""Instances that know nothing of the image: a detector that claims to find objects is read against them."""

from collections.abc import Iterator

import torch
from torch import Tensor

from segtricks.data.sample import Instances
from segtricks.scoring.floors import ellipse

FLOORS = ("whole image", "ellipse", "twenty boxes")

_SIZES = (0.9, 0.7, 0.5, 0.3)
_SHAPES = ((1.0, 1.0), (0.6, 1.0), (1.0, 0.6))
_STARTS = (0.0, 0.25, 0.5)


def object_floors(size: tuple[int, int]) -> dict[str, Instances]:
    """Return the instances of :data:`FLOORS` for an image of this height and width.

    The twenty boxes are of four sizes and three shapes in the middle, and eight of half the image's sides around it;
    larger ones have the higher score.
    """
    masks = {
        "whole image": torch.ones(1, *size, dtype=torch.bool),
        "ellipse": ellipse(size)[0] > 0,
        "twenty boxes": torch.stack([_filled(size, box) for box in _twenty_boxes()]),
    }
    return {name: _instances(masks[name]) for name in FLOORS}


def _twenty_boxes() -> Iterator[tuple[float, float, float, float]]:
    """Boxes x0, y0, x1, y1 as shares of the sides."""
    for side in _SIZES:
        for height, width in _SHAPES:
            down, across = side * height / 2, side * width / 2
            yield 0.5 - across, 0.5 - down, 0.5 + across, 0.5 + down
    for top in _STARTS:
        for left in _STARTS:
            if (top, left) != (0.25, 0.25):
                yield left, top, left + 0.5, top + 0.5


def _filled(size: tuple[int, int], box: tuple[float, float, float, float]) -> Tensor:
    height, width = size
    left, top, right, bottom = box
    mask = torch.zeros(size, dtype=torch.bool)
    rows = slice(round(top * height), max(1, round(bottom * height)))
    columns = slice(round(left * width), max(1, round(right * width)))
    mask[rows, columns] = True
    return mask


def _instances(masks: Tensor) -> Instances:
    areas = masks.flatten(1).sum(dim=1)
    return Instances(masks, torch.ones(len(masks), dtype=torch.int64), areas / masks[0].numel())
