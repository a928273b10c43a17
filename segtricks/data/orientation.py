"""Bring what was drawn on a photograph's stored pixels upright, as its EXIF orientation says."""

from pathlib import Path

import torch
from torch import Tensor

from segtricks.data.boxes import ImageBoxes
from segtricks.data.images import Stored, UnreadableImage, find_images, read_stored
from segtricks.data.pairing import composed, one_per_stem, without_suffix
from segtricks.words import Orientation

_TURNS = {
    2: (False, True, False),
    3: (False, True, True),
    4: (False, False, True),
    5: (True, False, False),
    6: (True, True, False),
    7: (True, True, True),
    8: (True, False, True),
}
"""Whether x and y are swapped, and then x and y flipped, for each EXIF orientation but 1."""


def turn(pixels: Tensor, orientation: int) -> Tensor:
    """Return stored pixels (…, H, W) upright; 1, and what EXIF does not define, changes nothing."""
    swap, flip_x, flip_y = _TURNS.get(orientation, (False, False, False))
    pixels = pixels.transpose(-2, -1) if swap else pixels
    sides = [side for side, flipped in ((-1, flip_x), (-2, flip_y)) if flipped]
    return pixels.flip(sides) if sides else pixels.contiguous()


def turn_boxes(boxes: ImageBoxes, orientation: int) -> ImageBoxes:
    """Return boxes that were drawn on stored pixels, and the size of these, upright."""
    swap, flip_x, flip_y = _TURNS.get(orientation, (False, False, False))
    height, width = boxes.size
    x0, y0, x1, y1 = boxes.boxes.unbind(1)
    if swap:
        x0, y0, x1, y1 = y0, x0, y1, x1
        height, width = width, height
    if flip_x:
        x0, x1 = width - x1, width - x0
    if flip_y:
        y0, y1 = height - y1, height - y0
    return ImageBoxes((height, width), torch.stack([x0, y0, x1, y1], dim=1), boxes.fault)


def is_turned(size: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether one size is the other turned by a quarter; another scale may be that of a network's output."""
    return size != other and size == other[::-1]


class Turns:
    """How targets and boxes are turned as their photographs say, found by name; without a folder nothing is.

    Args:
        folder: of the photographs.
        orientation: what targets and boxes were drawn on.
    """

    def __init__(self, folder: Path | None, orientation: Orientation) -> None:
        self.orientation = orientation
        found = [] if folder is None else find_images(folder)
        # By its bare name, and by its path below the folder where it has one.
        self._photographs = one_per_stem(found, lambda path: composed(path.stem), ".jpg")
        self._photographs |= one_per_stem(found, lambda path: composed(without_suffix(path, folder)), ".jpg")

    def photograph(self, name: str) -> Stored | None:
        """What the photograph of a pair says of itself; None where there is none, or it cannot be read."""
        name = composed(name)
        path = self._photographs.get(name) or self._photographs.get(Path(name).name)
        try:
            return None if path is None else read_stored(path)
        except UnreadableImage:
            return None
