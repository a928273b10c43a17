"""Masks painted over a photograph, in as many colours as there are masks or classes."""

import colorsys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_OPACITY = 0.55


def colour_of(number: int) -> NDArray[np.float64]:
    """One of any number of colours, (3,) in 0..255; neighbours are a golden section of the circle apart."""
    return np.array(colorsys.hsv_to_rgb((0.02 + 0.618034 * number) % 1, 0.85, 1.0)) * 255


def paint(picture: Image.Image, masks: NDArray[np.bool_], numbers: Sequence[int]) -> Image.Image:
    """Paint masks (n, H, W) over a photograph, or over a smaller picture of it, later ones over earlier ones.

    Args:
        picture: RGB.
        masks: at the photograph's size.
        numbers: n, of the colours.
    """
    pixels = np.asarray(picture).astype(np.float64)
    for mask, number in zip(masks, numbers, strict=True):
        inside = np.asarray(Image.fromarray(mask).resize(picture.size, Image.Resampling.NEAREST))
        pixels[inside] = (1 - _OPACITY) * pixels[inside] + _OPACITY * colour_of(number)
    return Image.fromarray(pixels.round().astype(np.uint8))
