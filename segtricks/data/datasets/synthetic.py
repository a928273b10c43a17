"""Drawn scenes: one textured object before a textured background, for trials and tests without any download."""

from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.random import Generator, default_rng
from numpy.typing import NDArray
from torch import Tensor

from segtricks.data.sample import SegmentationDataset
from segtricks.errors import UserError

Plane = NDArray[np.floating[Any]]  # float32 wherever it is as large as an image


class SyntheticShapes(SegmentationDataset):
    """Ellipses, rounded polygons and wavy blobs, at times of two parts, with exact masks.

    Size: ``count`` images, drawn when they are read; image ``i`` is a function of ``seed`` and ``i`` alone.
    Format: images uint8 RGB, masks 0/255, ``size`` x ``size`` pixels; the object covers 8 to 35 % of them. Its hue
    differs from the background's; lightness, gradients, textures and clutter make a mere threshold fail.
    Source: this file; there is nothing to cite.
    """

    target_kinds = ("mask",)

    def __init__(self, count: int = 1000, size: int = 128, seed: int = 0) -> None:
        if count < 1 or size < 16 or seed < 0:
            raise UserError(
                f"Synthetic images with count {count}, size {size}, seed {seed}: "
                "count is at least 1, size at least 16, seed at least 0."
            )
        self.size = size
        self.seed = seed
        folder = Path("synthetic", str(seed))
        images = [folder / f"{number:06d}.jpg" for number in range(count)]
        super().__init__("synthetic", images, [path.with_suffix(".png") for path in images])

    def read_image(self, index: int) -> Tensor:
        """Drawn photograph, uint8 (3, size, size)."""
        number = int(self.images[index].stem)
        image = _paint(default_rng([self.seed, number, 1]), _outline(self.seed, number, self.size))
        return torch.from_numpy(np.rint(image * 255).astype(np.uint8))

    def read_mask(self, index: int) -> Tensor:
        """Its mask, uint8 (1, size, size), 0 or 255."""
        alpha = _outline(self.seed, int(self.images[index].stem), self.size)
        return torch.from_numpy((alpha >= 0.5).astype(np.uint8) * 255).unsqueeze(0)

    def part(self, start: int | None, stop: int | None) -> Self:
        """Images ``start`` to ``stop``; a stop beyond the count draws that many more."""
        if stop is not None and stop > len(self):
            return type(self)(stop, self.size, self.seed).part(start, stop)
        return super().part(start, stop)


@lru_cache(maxsize=2)  # an image and its mask are read one after the other
def _outline(seed: int, number: int, size: int) -> Plane:
    """Cover of the object, 1 inside and 0 outside, about a pixel wide in between."""
    rng = default_rng([seed, number, 0])
    level = _part(rng, size, rng.uniform(-0.25, 0.25, 2), radius=1.0)
    if rng.random() < 0.3:
        angle = rng.uniform(0, 2 * np.pi)
        centre = 0.45 * np.array([np.cos(angle), np.sin(angle)])
        level = np.maximum(level, _part(rng, size, centre, radius=rng.uniform(0.5, 0.8)))
    area = rng.uniform(0.1, 0.32)
    # The level at which exactly this share of the pixels lies inside.
    edge = np.partition(level.ravel(), -int(area * level.size))[-int(area * level.size)]
    steepness = float(np.hypot(*np.gradient(level)).mean())
    return np.clip((level - edge) / (1.2 * steepness) + 0.5, 0, 1)


def _part(rng: Generator, size: int, centre: NDArray[np.float64], radius: float) -> Plane:
    """A field that falls from the part's middle outwards; its level lines are the outline in all sizes."""
    y, x = _grid(size)
    angle, stretch = rng.uniform(0, 2 * np.pi), rng.uniform(0.62, 1.0)
    dx, dy = x - np.float32(centre[0]), y - np.float32(centre[1])
    u = np.float32(np.cos(angle)) * dx + np.float32(np.sin(angle)) * dy
    v = (np.float32(np.cos(angle)) * dy - np.float32(np.sin(angle)) * dx) / np.float32(stretch)
    kind = rng.choice(3, p=(0.25, 0.25, 0.5))
    if kind == 1:
        corners = int(rng.integers(3, 7))
        turns = (np.arange(corners) + rng.uniform(-0.2, 0.2, corners)) * 2 * np.pi / corners
        # A high norm of the distances to the sides instead of their maximum rounds the corners.
        sides = [np.maximum(np.float32(np.cos(t)) * u + np.float32(np.sin(t)) * v, 0) for t in turns]
        return -np.sqrt(np.sqrt(np.sqrt(sum(side**8 for side in sides)))) / np.float32(radius)
    distance = np.hypot(u, v)
    if kind == 2:
        theta = np.arctan2(v, u)
        wave = np.ones_like(theta)
        for k in range(2, 6):
            wave += np.float32(rng.uniform(0.1, 0.34) / k) * np.cos(k * theta + np.float32(rng.uniform(0, 2 * np.pi)))
        distance = distance / wave
    return -distance / np.float32(radius)


def _paint(rng: Generator, alpha: Plane) -> Plane:
    """The scene as (3, H, W) in [0, 1]: background, clutter, soft shadow, object with shading."""
    size = alpha.shape[0]
    back, front = _colours(rng)
    scene = _surface(rng, size, back, rng.uniform(0.06, 0.14))
    for _ in range(int(rng.integers(0, 4))):
        cover = _blot(rng, size)
        scene += cover * (0.8 * (_shifted(rng, back, 0.35)[:, None, None] - scene))
    shift = max(1, size // 32)
    shadow = _smooth(np.roll(alpha, (shift, shift), (0, 1)))
    scene *= 1 - np.float32(rng.uniform(0.1, 0.3)) * shadow
    surface = _surface(rng, size, front, rng.uniform(0.06, 0.14))
    y, x = _grid(size)
    turn = rng.uniform(0, 2 * np.pi)
    surface *= 1 + np.float32(0.15) * (np.float32(np.cos(turn)) * x + np.float32(np.sin(turn)) * y)
    scene += alpha * (surface - scene)
    scene += rng.standard_normal(scene.shape, dtype=np.float32) * np.float32(0.015)
    return np.clip(scene, 0, 1)


def _colours(rng: Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Background and object: hues 70 to 180 degrees apart, lightness independent, together clearly different."""
    while True:
        hue = rng.uniform()
        back = _hsv(hue, rng.uniform(0.15, 0.6), rng.uniform(0.35, 0.8))
        front = _hsv(hue + rng.choice((-1, 1)) * rng.uniform(0.2, 0.5), rng.uniform(0.4, 0.85), rng.uniform(0.4, 0.9))
        if np.linalg.norm(front - back) > 0.4:
            return back, front


def _hsv(hue: float, saturation: float, value: float) -> NDArray[np.float64]:
    ramp = np.abs((hue + np.array([0, 2 / 3, 1 / 3])) % 1 * 6 - 3) - 1
    return value * (1 - saturation * (1 - np.clip(ramp, 0, 1)))


def _shifted(rng: Generator, colour: NDArray[np.float64], amount: float) -> Plane:
    return np.clip(colour + rng.uniform(-amount, amount, 3) * 0.6, 0, 1).astype(np.float32)


def _surface(rng: Generator, size: int, colour: NDArray[np.float64], strength: float) -> Plane:
    """A textured surface (3, H, W): a drift between two near colours, then noise and perhaps waves in lightness."""
    drift = _noise(rng, size, 3)
    start, end = _shifted(rng, colour, 0.22), _shifted(rng, colour, 0.22)
    drift = np.clip(0.5 + 0.35 * drift, 0, 1)
    surface = start[:, None, None] + (end - start)[:, None, None] * drift
    texture = _noise(rng, size, int(rng.integers(7, 11))) + 0.7 * _grain(rng, size)
    if rng.random() < 0.35:
        y, x = _grid(size)
        turn, waves = rng.uniform(0, np.pi), rng.uniform(14, 45)
        phase = np.float32(waves * np.cos(turn)) * x + np.float32(waves * np.sin(turn)) * y
        texture = 0.5 * texture + 1.2 * np.sin(phase + 1.5 * _noise(rng, size, 4))
    return surface * (1 + np.float32(strength) * 0.7 * texture)


def _blot(rng: Generator, size: int) -> Plane:
    y, x = _grid(size)
    centre = rng.uniform(-1, 1, 2).astype(np.float32)
    radius = np.float32(rng.uniform(0.06, 0.16))
    return np.clip((radius - np.hypot(x - centre[0], (y - centre[1]) * np.float32(rng.uniform(0.6, 1.6)))) * 20, 0, 1)


def _noise(rng: Generator, size: int, cells: int) -> Plane:
    """Smooth noise with about unit variance, ``cells`` hills along a side.

    Up to 10 cells and 160 pixels these products are too small for BLAS to start threads, which would wait for those of
    other loading processes.
    """
    spread = _interpolation(size, cells)
    # Splines average the hills to about half their height.
    return 2 * (spread @ rng.standard_normal((cells, cells), dtype=np.float32) @ spread.T)


def _grain(rng: Generator, size: int) -> Plane:
    """Fine noise with about unit variance, its grains two to three pixels wide."""
    grain = rng.standard_normal((size, size), dtype=np.float32)
    for axis in (0, 1):
        grain = grain + (np.roll(grain, 1, axis) + np.roll(grain, -1, axis)) * np.float32(0.5)
    return grain / np.float32(1.5)


def _smooth(plane: Plane) -> Plane:
    """The plane at a sixteenth of its resolution and back: a cheap wide blur."""
    size = plane.shape[0]
    spread = _interpolation(size, max(4, size // 16))
    shrink = spread / spread.sum(0, keepdims=True)
    return spread @ (shrink.T @ plane @ shrink) @ spread.T


@lru_cache(maxsize=64)
def _interpolation(size: int, cells: int) -> Plane:
    """Weights (size, cells) of cubic B-splines: a row sums to one."""
    place = np.linspace(0.5, cells - 1.5, size)[:, None]
    gap = np.abs(place - np.arange(cells)[None])
    inner, outer = 2 / 3 - gap**2 + gap**3 / 2, np.clip(2 - gap, 0, None) ** 3 / 6
    weights = np.where(gap < 1, inner, outer)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


@lru_cache(maxsize=8)
def _grid(size: int) -> tuple[Plane, Plane]:
    """Coordinates y (size, 1) and x (1, size) of the pixels' centres in [-1, 1]."""
    axis = ((np.arange(size, dtype=np.float32) + 0.5) * 2 / size - 1).astype(np.float32)
    return axis[:, None], axis[None]
