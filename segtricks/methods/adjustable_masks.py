"""Masks of photographs for a threshold and a guided filter that someone moves, as on the page of ``segtricks app``."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from segtricks.data.images import read_image
from segtricks.methods.base import SegmentationModule
from segtricks.pseudo_labels.mask_files import overlay

_SHOWN = 1200  # pixels of the longer side: a page needs no more, and the sliders stay quick
_KEPT = 8  # photographs, each with what the network said of it


@dataclass(frozen=True)
class Soft:
    """A photograph, and what the network says of it."""

    photo: Tensor
    """uint8 (3, H, W)."""
    image: Tensor
    """Normalised (3, h, w), as the network saw it."""
    prob: Tensor
    """Foreground probabilities (1, 1, h, w), before any filter."""


class AdjustableMasks:
    """Masks of photographs, which the network sees once each.

    Args:
        model: of one soft mask a photograph, in evaluation mode.
    """

    def __init__(self, model: SegmentationModule) -> None:
        self.model = model
        self._soft: Callable[[str, Path], Soft] = lru_cache(_KEPT)(self._computed)

    def show(self, photograph: str, threshold: float, radius: int, exponent: float) -> tuple[Image.Image, Image.Image]:
        """Return overlay (RGB) and mask (L, 0 or 255) of a photograph, at most 1,200 pixels wide or high.

        Args:
            photograph: its file.
            threshold: what is above it is foreground.
            radius: of the guided filter, in pixels of the image that it sees; 0 is no filter.
            exponent: eps of the guided filter is ten to this power.

        Raises:
            UnreadableImage: the file cannot be read.
        """
        photo, mask = self._filtered(photograph, radius, exponent)
        photo.thumbnail((_SHOWN, _SHOWN))
        small = np.asarray(Image.fromarray(mask).resize(photo.size, Image.Resampling.BILINEAR))
        return overlay(photo, _alpha(small, threshold)), _binary(small, threshold)

    def files(self, folder: Path, photograph: str, threshold: float, radius: int, exponent: float) -> tuple[Path, Path]:
        """Write the cut-out (RGBA) and the mask (L, 0 or 255) as PNG of the photograph's size; return their paths.

        The cut-out's opacity is the probability, bent so that it is a half at the threshold.
        """
        photo, mask = self._filtered(photograph, radius, exponent)
        stem = Path(photograph).stem
        cutout, binary = folder / f"{stem}-cutout.png", folder / f"{stem}-mask.png"
        photo.putalpha(_alpha(mask, threshold))
        photo.save(cutout, compress_level=1)
        _binary(mask, threshold).save(binary)
        return cutout, binary

    @torch.no_grad()
    def _filtered(self, photograph: str, radius: int, exponent: float) -> tuple[Image.Image, NDArray[np.float32]]:
        """The photograph, and its mask (H, W) in [0, 1]."""
        path = Path(photograph)
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        soft = self._soft(content, path)
        refine = replace(self.model.refiner, radius=radius, eps=10.0**exponent) if radius else None
        size = tuple(soft.photo.shape[-2:])
        mask = self.model.refined(refine, soft.prob, soft.image, soft.photo, size)
        return Image.fromarray(soft.photo.permute(1, 2, 0).numpy()), mask[0, 0].float().cpu().numpy()

    @torch.no_grad()
    def _computed(self, content: str, path: Path) -> Soft:
        """What the network says of a photograph; the hash of its content is what it is kept by."""
        photo = read_image(path)
        batch: dict[str, Any] = self.model.batch_of(photo)
        (prob,) = self.model.probabilities(batch, self.model.predict_polarity)
        return Soft(photo, batch["image"][0], prob)


def _alpha(mask: NDArray[np.float32], threshold: float) -> Image.Image:
    """Opacity of a mask: 0 at probability 0, a half at the threshold, 1 at probability 1."""
    opacity = np.interp(mask, [0, threshold, 1], [0, 0.5, 1])
    return Image.fromarray(np.rint(opacity * 255).astype(np.uint8))


def _binary(mask: NDArray[np.float32], threshold: float) -> Image.Image:
    return Image.fromarray((mask > threshold).astype(np.uint8) * np.uint8(255))
