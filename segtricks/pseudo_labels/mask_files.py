"""Masks as files, and what is likely wrong where many of them are empty or full."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segtricks.runs import replacing

PNG_LEVEL = 4
"""Of zlib: on soft masks a tenth larger than its own 6, in well under half the time."""
MANY = 0.05
"""Share of the photographs from which empty or full masks are more than photographs without an object."""


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
