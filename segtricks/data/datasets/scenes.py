"""Drawn scenes with exact panoptic truth: shapes of three kinds before two of three textures."""

from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.random import Generator, default_rng
from numpy.typing import NDArray
from torch import Tensor

from segtricks.data.sample import Instances, Panoptic, SegmentationDataset
from segtricks.errors import UserError

THINGS = ("disc", "square", "triangle")
STUFF = ("grass", "water", "sand")

_THING_COLOURS = np.array([[0.85, 0.2, 0.2], [0.9, 0.8, 0.2], [0.7, 0.25, 0.75]], np.float32)
_STUFF_COLOURS = np.array([[0.3, 0.5, 0.25], [0.3, 0.45, 0.7], [0.7, 0.6, 0.45]], np.float32)
_TRIES = 20

Plane = NDArray[Any]


class _Scene(NamedTuple):
    image: Tensor
    truth: Panoptic


class DrawnScenes(SegmentationDataset):
    """One to three discs, squares and triangles before two of the textures grass, water and sand.

    Size: ``count`` images, drawn when they are read; image ``i`` is a function of ``seed`` and ``i`` alone.
    Format: images uint8 RGB, ``size`` x ``size`` pixels; instances of the classes 1 to 3, which seldom touch each
    other; stuff of the classes 1 to 3. Each class has a colour, which varies, and each texture a pattern.
    Source: this file; there is nothing to cite.
    """

    target_kinds = ("mask", "labels", "instances", "panoptic")

    def __init__(self, count: int = 208, size: int = 128, seed: int = 0) -> None:
        if count < 1 or size < 16 or seed < 0:
            raise UserError(
                f"Drawn scenes with count {count}, size {size}, seed {seed}: count is at least 1, size at least 16, "
                "seed at least 0."
            )
        self.size, self.seed = size, seed
        images = [Path("scenes", str(seed), f"{number:06d}.jpg") for number in range(count)]
        super().__init__("scenes", images, [path.with_suffix(".png") for path in images])

    def read_image(self, index: int) -> Tensor:
        """Drawn photograph, uint8 (3, size, size)."""
        return self._scene(index).image

    def read_mask(self, index: int) -> Tensor:
        """All shapes together, uint8 (1, size, size), 0 or 255."""
        return (self.read_labels(index) == 0).to(torch.uint8) * 255

    def read_labels(self, index: int) -> Tensor:
        """Map of stuff alone, int64 (1, size, size), 0 on shapes."""
        return self._scene(index).truth.semantic

    def read_instances(self, index: int) -> Instances:
        """What is seen of the shapes."""
        return self._scene(index).truth.instances

    def read_panoptic(self, index: int) -> Panoptic:
        """Shapes and stuff."""
        return self._scene(index).truth

    def part(self, start: int | None, stop: int | None) -> Self:
        """Images ``start`` to ``stop``; a stop beyond the count draws that many more."""
        if stop is not None and stop > len(self):
            return type(self)(stop, self.size, self.seed).part(start, stop)
        return super().part(start, stop)

    def _scene(self, index: int) -> _Scene:
        return _draw(self.seed, int(self.images[index].stem), self.size)


@lru_cache(maxsize=2)  # an image and its truth are read one after the other
def _draw(seed: int, number: int, size: int) -> _Scene:
    rng = default_rng([seed, number])
    stuff = _border(rng, size, *(1 + rng.permutation(3)[:2]))
    pixels = _surface(rng, stuff)
    objects = np.zeros((size, size), np.int64)
    kinds = rng.integers(0, 3, rng.integers(1, 4))
    for place, kind in enumerate(kinds.tolist(), start=1):
        inside = _free_shape(rng, kind, objects > 0)
        objects[inside] = place
        colour = _THING_COLOURS[kind] + rng.uniform(-0.04, 0.04, 3).astype(np.float32)
        pixels[inside] = colour * (1 + 0.03 * rng.standard_normal((int(inside.sum()), 1), np.float32))
    image = np.rint(pixels.clip(0, 1) * 255).astype(np.uint8)
    masks = torch.from_numpy(np.stack([objects == place for place in range(1, len(kinds) + 1)]))
    seen = masks.flatten(1).any(dim=1)
    labels = torch.from_numpy(kinds + 1)[seen]
    instances = Instances(masks[seen], labels, torch.ones(len(labels)))
    semantic = torch.from_numpy(np.where(objects > 0, 0, stuff))[None]
    return _Scene(torch.from_numpy(image).permute(2, 0, 1).contiguous(), Panoptic(instances, semantic))


def _border(rng: Generator, size: int, one: int, other: int) -> NDArray[np.int64]:
    """Two classes on the sides of a line near the middle."""
    y, x = _grid(size)
    turn = rng.uniform(0, 2 * np.pi)
    side = np.cos(turn) * x + np.sin(turn) * y > rng.uniform(-0.3, 0.3)
    return np.where(side, one, other).astype(np.int64)


def _surface(rng: Generator, stuff: NDArray[np.int64]) -> Plane:
    """The textures (size, size, 3): grass is grainy, water has waves, sand is checked."""
    size = len(stuff)
    y, x = np.arange(size)[:, None], np.arange(size)[None]
    grain = rng.standard_normal((size, size), np.float32)
    waves = np.sin(2 * np.pi * (y + 0 * x) / 6 + rng.uniform(0, 6))
    checks = np.where((y // 3 + x // 3) % 2, 1.0, -1.0)
    patterns = np.stack([0.2 * grain, 0.15 * waves, 0.08 * checks]).astype(np.float32)
    colours = _STUFF_COLOURS + rng.uniform(-0.04, 0.04, (3, 3)).astype(np.float32)
    pattern = np.take_along_axis(patterns, stuff[None] - 1, axis=0)[0]
    surface: Plane = colours[stuff - 1] * (1 + pattern[..., None])
    return surface + 0.02 * rng.standard_normal((size, size, 3), np.float32)


def _free_shape(rng: Generator, kind: int, taken: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A shape that touches no other, if one of a few tries is such."""
    for _ in range(_TRIES):
        distance, radius = _shape(rng, len(taken), kind)
        if not (taken & (distance < 1.3 * radius)).any():
            break
    inside: NDArray[np.bool_] = distance < radius
    return inside


def _shape(rng: Generator, size: int, kind: int) -> tuple[Plane, float]:
    y, x = _grid(size)
    left, top = rng.uniform(-0.65, 0.65, 2)
    radius, turn = float(rng.uniform(0.22, 0.4)), rng.uniform(0, 2 * np.pi)
    u = np.cos(turn) * (x - left) + np.sin(turn) * (y - top)
    v = np.cos(turn) * (y - top) - np.sin(turn) * (x - left)
    distances = {
        0: np.hypot(u, v),
        1: np.maximum(abs(u), abs(v)) * 1.15,
        2: np.max([np.cos(t) * u + np.sin(t) * v for t in (0, 2 * np.pi / 3, 4 * np.pi / 3)], axis=0) * 1.6,
    }
    return distances[kind], radius


@lru_cache(maxsize=8)
def _grid(size: int) -> tuple[Plane, Plane]:
    """Coordinates y (size, 1) and x (1, size) of the pixels' centres in [-1, 1]."""
    axis = (np.arange(size) + 0.5) * 2 / size - 1
    return axis[:, None], axis[None]
