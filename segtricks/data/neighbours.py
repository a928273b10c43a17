"""Pairs of a photograph and one of those that look most like it, for STEGO."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from segtricks.data.loading import (
    CropItems,
    Emptied,
    Item,
    Skipped,
    TrainItems,
    collate_stacked,
    finished,
)
from segtricks.data.sample import SegmentationDataset, TargetKind
from segtricks.data.store import ImageCache
from segtricks.data.transforms import TrainTransform
from segtricks.runs import replacing

FILE = "neighbours.npz"
"""In the run folder."""

_ROWS = 1024


def nearest(vectors: Tensor, count: int) -> Tensor:
    """Return the places of the ``count`` vectors of (N, D) with the largest cosine to each, itself left out.

    Fewer where N is smaller: (N, min(count, N - 1)) int64, the most similar first.
    """
    unit = normalize(vectors.float(), dim=1)
    found = []
    for start in range(0, len(unit), _ROWS):
        alike = unit[start : start + _ROWS] @ unit.T
        alike.diagonal(start).fill_(-torch.inf)
        found.append(alike.topk(min(count, len(unit) - 1), dim=1).indices)
    return torch.cat(found)


def write_neighbours(folder: Path, table: Tensor, key: str) -> None:
    """Write a table of neighbours, and what it belongs to."""
    with replacing(folder / FILE) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, neighbours=table.cpu().numpy(), key=np.array(key))


def read_neighbours(folder: Path, key: str) -> Tensor | None:
    """Return the table of neighbours of a run; None where there is none, or it belongs to something else."""
    try:
        with np.load(folder / FILE) as file:
            return torch.from_numpy(file["neighbours"]) if file["key"].item() == key else None
    except (OSError, ValueError, KeyError, EOFError):
        return None


class MiddleItems(CropItems):
    """The middle of each photograph: ``image`` uint8 (3, S, S), ``path``, and its ``place`` in the data set."""

    def _item(self, index: int) -> Item | Emptied:
        item = super()._item(index)
        return item | {"place": index} if isinstance(item, dict) else item


class NeighbourItems(TrainItems):
    """Items as of :class:`TrainItems`, with ``neighbour`` uint8 (3, S, S) and its ``neighbour_colors``.

    Which of its neighbours, and its view, are functions of ``(seed, epoch, index)``.

    Args:
        neighbours: (N, k) places of the neighbours of each photograph.
    """

    def __init__(
        self,
        dataset: SegmentationDataset,
        transform: TrainTransform,
        seed: int,
        neighbours: Tensor,
        cache: ImageCache | None = None,
        targets: bool = False,
    ) -> None:
        super().__init__(dataset, transform, seed, cache, targets)
        self.neighbours = neighbours
        self._photographs = TrainItems(dataset, transform, seed, cache)

    def _item(self, key: int | tuple[int, int]) -> Item | Emptied:
        item = super()._item(key)
        if not isinstance(item, dict):
            return item
        epoch, index = key if isinstance(key, tuple) else (0, key)
        generator = self.generator(epoch, len(self) + index)
        choice = int(torch.randint(self.neighbours.shape[1], (), generator=generator))
        image, _ = self._photographs._read(int(self.neighbours[index, choice]))
        view = self.transform.draw(image.shape[-2], image.shape[-1], generator)
        colors = self.transform.draw_colors(generator)
        return item | {"neighbour": view.image(image), "neighbour_colors": colors}


def collate_neighbours(
    items: Sequence[Item | Skipped | Emptied], size: int, targets: TargetKind | None = None, finish: bool = False
) -> dict[str, Any]:
    """A batch of B pairs: ``image`` (2B, 3, size, size), the photographs before their neighbours; ``path`` has B names.

    ``target`` is of the photographs alone. The rest is as of :func:`segtricks.data.loading.collate_stacked`.
    """
    names = ["image", "colors", "path"] + ["target"] * (targets is not None)
    batch = collate_stacked(items, names, size, targets)
    pairs = [item for item in items if isinstance(item, dict)]
    others = [{"image": pair["neighbour"], "colors": pair["neighbour_colors"]} for pair in pairs]
    second = collate_stacked(others, ["image", "colors"], size)
    batch["image"] = torch.cat([batch["image"], second["image"]])
    batch["colors"] = np.concatenate([batch["colors"], second["colors"]])
    return finished(batch) if finish else batch


class FiveCrops(SegmentationDataset):
    """Five parts of each photograph and of its label map, of half its height and width: the corners and the middle.

    All parts have the photograph's path.
    """

    def __init__(self, whole: SegmentationDataset) -> None:
        masks = None if whole.masks is None else _five_times(whole.masks)
        super().__init__(whole.name, _five_times(whole.images), masks)
        self.whole, self.reading, self._read_as = whole, whole.reading, whole._read_as
        self._parts = [(index, part) for index in range(len(whole)) for part in range(5)]

    def select(self, indices: Sequence[int]) -> Self:
        """The same with only these parts."""
        chosen = super().select(indices)
        chosen._parts = [self._parts[index] for index in indices]
        return chosen

    def read_image(self, index: int) -> Tensor:
        """Part of a photograph, uint8 (3, H / 2, W / 2)."""
        place, part = self._parts[index]
        return _part(self.whole.read_image(place), part)

    def read_labels(self, index: int) -> Tensor | None:
        """The same part of its label map, int64 (1, H / 2, W / 2)."""
        place, part = self._parts[index]
        labels = self.whole.read_labels(place)
        return None if labels is None else _part(labels, part)

    @property
    def white(self) -> int:
        """Gray value of white in photographs of 16 bits."""
        return self.whole.white

    def decide_reading(self) -> None:
        """Decide how files are read, as the whole photographs are."""
        self.whole.decide_reading()

    def _reading_lines(self) -> list[str]:
        return self.whole._reading_lines()


def _five_times(paths: Sequence[Path]) -> list[Path]:
    return [path for path in paths for _ in range(5)]


def _part(pixels: Tensor, part: int) -> Tensor:
    """A part of (C, H, W): at the four corners, and in the middle."""
    height, width = (max(1, side // 2) for side in pixels.shape[-2:])
    bottom, right = pixels.shape[-2] - height, pixels.shape[-1] - width
    corners = [(0, 0), (0, right), (bottom, 0), (bottom, right), (round(bottom / 2), round(right / 2))]
    top, left = corners[part]
    return pixels[..., top : top + height, left : left + width]
