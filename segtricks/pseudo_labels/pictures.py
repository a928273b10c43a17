"""What pages of pseudo-labels are made of: colours, small pictures, and a template."""

import base64
import colorsys
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader
from numpy.typing import NDArray
from PIL import Image

from segtricks.runs import replacing

_OPACITY = 0.55


def write_html(path: Path, template: str, **values: Any) -> None:
    """Render a template of this package to a file, in one step; names need not be UTF-8."""
    environment = Environment(loader=PackageLoader("segtricks.pseudo_labels", ""), autoescape=True)
    text = environment.get_template(template).render(**values)
    with replacing(path) as temporary:
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))


def colour(number: int) -> NDArray[np.float64]:
    """Return one of any number of colours, (3,) in 0..255; neighbours are a golden section of the circle apart."""
    return np.array(colorsys.hsv_to_rgb((0.02 + 0.618034 * number) % 1, 0.85, 1.0)) * 255


def css(number: int) -> str:
    """Return the same for a style sheet."""
    red, green, blue = colour(number).round().astype(int)
    return f"rgb({red}, {green}, {blue})"


def painted(small: Image.Image, arrays: NDArray[np.bool_], numbers: Sequence[int]) -> Image.Image:
    """Paint masks (n, H, W) over a small photograph, later ones over earlier ones."""
    picture = np.asarray(small).astype(np.float64)
    for array, number in zip(arrays, numbers, strict=True):
        inside = np.asarray(Image.fromarray(array).resize(small.size, Image.Resampling.NEAREST))
        picture[inside] = (1 - _OPACITY) * picture[inside] + _OPACITY * colour(number)
    return Image.fromarray(picture.round().astype(np.uint8))


def painted_labels(photo: Image.Image, labels: NDArray[np.integer[Any]]) -> Image.Image:
    """Paint a map (H, W) of ids over a photograph of its size, or over a smaller one."""
    small = np.asarray(Image.fromarray(labels.astype(np.uint16)).resize(photo.size, Image.Resampling.NEAREST))
    colours = np.stack([_OPACITY * colour(number) for number in range(int(small.max()) + 1)]).astype(np.float32)
    picture = np.asarray(photo) * np.float32(1 - _OPACITY) + colours[small]
    return Image.fromarray(picture.round().astype(np.uint8))


def jpeg(picture: Image.Image) -> str:
    """Return a picture as base64, to stand in a page."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=80)
    return base64.b64encode(file.getvalue()).decode()
