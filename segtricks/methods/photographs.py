"""Photographs as a person has them in Python: paths, PIL images, arrays."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from segtricks.data.images import read_image, rgb_pixels
from segtricks.errors import UserError

Photograph = str | Path | Image.Image | NDArray[np.uint8]
"""A file, a PIL image, or an RGB array (H, W, 3) of uint8."""

Photographs = Sequence[Path] | list[str] | list[Image.Image] | list[NDArray[np.uint8]] | list[Photograph]

_LEGAL = "Pass a path, a PIL image, a uint8 RGB array (H, W, 3), or a list of these."


def is_one(photographs: Photograph | Photographs) -> bool:
    """Tell one photograph from a list of them.

    Raises:
        UserError: neither.
    """
    if isinstance(photographs, str | Path | Image.Image | np.ndarray):
        return True
    if isinstance(photographs, list | tuple):
        return False
    raise UserError(f"photographs is of type {type(photographs).__name__}.\n{_LEGAL}")


def as_pixels(photograph: Any) -> Tensor:
    """Return uint8 (3, H, W) RGB.

    Raises:
        UserError: an array of another shape or dtype, or something else altogether.
        UnreadableImage: a file that cannot be read.
    """
    if isinstance(photograph, str | Path):
        return read_image(Path(photograph))
    if isinstance(photograph, Image.Image):
        photograph = rgb_pixels(photograph)
    if not isinstance(photograph, np.ndarray):
        raise UserError(f"A photograph is of type {type(photograph).__name__}.\n{_LEGAL}")
    if photograph.dtype != np.uint8 or photograph.ndim != 3 or photograph.shape[2] != 3 or not photograph.size:
        raise UserError(f"A photograph is an array of {photograph.dtype}, shape {photograph.shape}.\n{_LEGAL}")
    return torch.from_numpy(np.array(photograph)).permute(2, 0, 1)
