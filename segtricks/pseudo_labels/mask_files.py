"""Masks as files, and what is likely wrong where many of them are empty or full."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops

from segtricks.runs import replacing

PNG_LEVEL = 4
"""Of zlib: on soft masks a tenth larger than its own 6, in well under half the time."""
KINDS = {"soft": "png", "binary": "png", "overlay": "jpg"}
"""Pictures of a soft mask, and their suffix."""
MANY = 0.05
"""Share of the photographs from which empty or full masks are more than photographs without an object."""

_TINT = (1.0, 0.25, 0.1)
_PROBABILITIES = [value / 255 for value in range(256)]
_KEPT = [round(255 * (0.55 + 0.45 * p) * (1 - p / 2)) for p in _PROBABILITIES]


def _added(part: float) -> list[int]:
    return [round(255 * p / 2 * part) for p in _PROBABILITIES]


_ADDED = [_added(part) for part in _TINT]


def write_pictures(
    prediction: NDArray[np.floating], photo: NDArray[np.uint8], files: Mapping[str, Path]
) -> NDArray[np.bool_]:
    """Write the pictures of one photograph (H, W, 3), and return where its soft mask (H, W) is above 0.5.

    Args:
        prediction: probabilities; what is not a number counts as 0.
        photo: the photograph.
        files: where ``soft``, ``binary`` and ``overlay`` go, those that are wanted.
    """
    inside = prediction > 0.5
    soft = np.rint(np.nan_to_num(prediction.clip(0, 1), copy=False) * 255).astype(np.uint8)
    if "soft" in files:
        write_png(files["soft"], soft)
    if "binary" in files:
        write_png(files["binary"], inside.astype(np.uint8) * np.uint8(255))
    if "overlay" in files:
        with replacing(files["overlay"]) as temporary:
            overlay(Image.fromarray(photo), Image.fromarray(soft)).save(temporary, quality=90)
    return inside


def overlay(photo: Image.Image, mask: Image.Image) -> Image.Image:
    """Tint the foreground of a photograph (RGB) and darken the background, by its mask (L, 255 at probability 1).

    The tint's share is half the probability. Whole numbers throughout: a value may be off by 2 of 255.
    """
    kept, added = mask.point(_KEPT), [mask.point(table) for table in _ADDED]
    return ImageChops.add(ImageChops.multiply(photo, Image.merge("RGB", [kept] * 3)), Image.merge("RGB", added))


def write_png(path: Path, picture: NDArray[np.uint8]) -> None:
    """Write a gray picture (H, W), in one step."""
    with replacing(path) as temporary:
        Image.fromarray(picture).save(temporary, compress_level=PNG_LEVEL)


def count_one_sided(empty: int, full: int) -> str:
    """Return the counts in words."""
    return f"{empty:,} empty masks, {full:,} of everything"


def warn_one_sided(empty: int, full: int, masks: int, why: str) -> None:
    """Print what is likely wrong where many of the masks are empty or full.

    Args:
        empty: masks without foreground.
        full: masks of nothing else.
        masks: all masks.
        why: the likely reason, and what to type next.
    """
    if masks and empty + full > MANY * masks:
        print(f"segtricks: warning: {(empty + full) / masks:.0%} of the masks are empty or full. {why}")
