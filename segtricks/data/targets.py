"""Targets to train on: photographs of any data set with pseudo-labels of a store."""

import os
import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from segtricks.data.images import UnreadableImage, read_labels
from segtricks.data.label_entry import Entry
from segtricks.data.label_store import Store
from segtricks.data.sample import Instances, SegmentationDataset
from segtricks.errors import UserError


class WithTargets(SegmentationDataset):
    """Photographs of a data set with pseudo-labels, which take the place of its own masks if it has any.

    They are matched by :meth:`Store.match`; photographs without any are left out with a warning. As a mask, all masks
    of a photograph count together. Masks that are empty or full do not count.

    Args:
        photographs: Any data set.
        labels: What :meth:`Store.open` reads: the output of ``segtricks predict`` or ``discover``, a folder of masks or
            of label maps, or a JSON file.

    Raises:
        UserError: There are no pseudo-labels, or none belongs to a photograph.
    """

    target_kinds = ("mask", "labels", "instances")

    def __init__(self, photographs: SegmentationDataset, labels: str | Path) -> None:
        self.store = Store.open(labels)
        self._photographs = photographs
        self._places = {path: index for index, path in enumerate(photographs.images)}
        images = _outside(self.store.path, photographs.images)
        self._names = self.store.match(images)
        if not self._names:
            raise UserError(
                f"None of the {len(images):,} photographs of {photographs.name} has pseudo-labels in "
                f"{self.store.path}: they are matched by name, for example {images[0].stem} with "
                f"{self.store.names[0]}.\nNext: pass the folder or JSON file with theirs as --data.masks."
            )
        if len(self._names) < len(images):
            first = next(path.name for path in images if path not in self._names)
            warnings.warn(
                f"{len(images) - len(self._names):,} of the {len(images):,} photographs of {photographs.name} have no "
                f"pseudo-labels in {self.store.path} and are left out, the first is {first}.",
                stacklevel=2,
            )
        files = [self.store.path / name for name in self._names.values()]
        super().__init__(photographs.name, list(self._names), files)

    def read_image(self, index: int) -> Tensor:
        """Photograph alone, uint8 (3, H, W)."""
        return self._photographs.read_image(self._places[self.images[index]])

    def read_mask(self, index: int) -> Tensor:
        """All masks together, uint8 (1, H, W) of 0 and 255."""
        pixels = self._entry(index).usable().arrays().any(axis=0, keepdims=True)
        return torch.from_numpy(pixels.astype(np.uint8) * 255)

    def read_labels(self, index: int) -> Tensor:
        """Label map alone, int64 (1, H, W)."""
        entry = self._entry(index)
        # In a folder of image files, which image it is decides what it is read as.
        path = entry.labels or (None if self._has_entries else entry.soft)
        if path is None:
            raise UnreadableImage(self.images[index], f"has no label map in {self.store.path}")
        return read_labels(path)

    def read_instances(self, index: int) -> Instances:
        """All masks: those without a class have the label 1, those without a score the score 1."""
        entry = self._entry(index).usable()
        labels = [1 if mask.class_id is None else mask.class_id for mask in entry.masks]
        scores = [1.0 if mask.score is None else mask.score for mask in entry.masks]
        masks = torch.from_numpy(entry.arrays())
        return Instances(masks, torch.tensor(labels, dtype=torch.int64), torch.tensor(scores, dtype=torch.float32))

    @property
    def _has_entries(self) -> bool:
        return (self.store.path / "entries").is_dir()

    def _entry(self, index: int) -> Entry:
        return self.store.entry(self._names[self.images[index]])


def _outside(folder: Path, images: Iterable[Path]) -> list[Path]:
    """The images that do not lie in a folder of masks, which may itself lie among the photographs."""
    images = list(images)
    masks = os.path.realpath(folder)
    outside = [path for path in images if not Path(os.path.realpath(path)).is_relative_to(masks)]
    return outside or images  # photographs and masks may share one folder
