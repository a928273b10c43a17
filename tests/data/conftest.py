"""Tiny datasets on disk."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segtricks.data.datasets.published import PairedDataset

Write = Callable[..., Path]


@pytest.fixture
def write() -> Write:
    """Write a small image (noise) or mask (left half white) and return its path."""

    def write(path: Path, mask: bool = False, size: tuple[int, int] = (12, 8), seed: int = 0) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        width, height = size
        if mask:
            pixels = np.zeros((height, width), np.uint8)
            pixels[:, : width // 2] = 255
        else:
            pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        return path

    return write


@pytest.fixture
def published(write: Write) -> Callable[..., Path]:
    """Write a few pairs in the layout of a published dataset, within ``folder``."""

    def published(folder: Path, kind: type[PairedDataset], stems: str = "abc") -> Path:
        for i, stem in enumerate(stems):
            write(folder / kind.image_folder / f"{stem}.jpg", seed=i)
            write(folder / kind.mask_folder / f"{stem}.png", mask=True)
        return folder

    return published
