"""Targets to train on: photographs of any dataset with pseudo-labels of a store."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from segtricks.data.images import UnreadableImage, read_labels
from segtricks.data.label_entry import Entry
from segtricks.data.label_store import Store
from segtricks.data.pairing import check_matched
from segtricks.data.sample import Instances, Panoptic, SegmentationDataset
from segtricks.data.transforms import VOID


class WithTargets(SegmentationDataset):
    """Photographs of a dataset with pseudo-labels, which take the place of its own masks if it has any.

    They are matched by :meth:`Store.match`; photographs without any are left out with a warning. As a mask, all masks
    of a photograph count together. Masks that are empty or full do not count.

    ``labels`` is what :meth:`Store.open` reads: the output of ``segtricks predict`` or ``discover``, a folder of masks
    or of label maps, or a JSON file; ``foreground`` and ``ignore`` are its options. A ``UserError`` where none belongs
    to a photograph.
    """

    target_kinds = ("mask", "labels", "instances", "panoptic")

    def __init__(
        self,
        photographs: SegmentationDataset,
        labels: str | Path,
        foreground: Sequence[int] = (),
        ignore: Sequence[int] = (),
    ) -> None:
        self.store = Store.open(labels, foreground, ignore, "targets")
        self._photographs = photographs
        self._places = {path: index for index, path in enumerate(photographs.images)}
        images = _outside(self.store.path, photographs.images)
        self._names = self.store.match(images)
        what = f"pseudo-labels in {self.store.path}"
        hint = f" There is {self.store.names[0]}.\nNext: pass the folder or JSON file with theirs as --data.masks."
        check_matched(photographs.name, images, self._names, what, hint)
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
        path = self.store.files.get(self._names[self.images[index]]) or self._entry(index).labels
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

    def read_panoptic(self, index: int) -> Panoptic:
        """All masks, see :meth:`read_instances`, and the label map as the map of stuff; without one all is unknown."""
        entry = self._entry(index)
        labels = entry.read_labels()
        semantic = np.full((entry.height, entry.width), VOID) if labels is None else labels
        return Panoptic(self.read_instances(index), torch.from_numpy(semantic.astype(np.int64))[None])

    @property
    def white(self) -> int:
        """Gray value of white in photographs of 16 bits."""
        return self._photographs.white

    def _reading_lines(self) -> list[str]:
        lines = self._photographs.reading.lines(False, False)
        decided = self.store.reading is not None and self.target_kind != "labels"
        return lines + (self.store.reading.masks.lines() if decided and self.store.reading else [])

    def decide_reading(self) -> None:
        """Decide how files are read, before worker processes start; raises as for all data sets."""
        _ = self.white
        if self.target_kind != "labels" and self.store.reading is not None:
            _ = self.store.reading.masks

    def _entry(self, index: int) -> Entry:
        return self.store.entry(self._names[self.images[index]])


def _outside(folder: Path, images: Iterable[Path]) -> list[Path]:
    """The images that do not lie in a folder of masks, which may itself lie among the photographs."""
    images = list(images)
    masks = os.path.realpath(folder)
    outside = [path for path in images if not Path(os.path.realpath(path)).is_relative_to(masks)]
    return outside or images  # photographs and masks may share one folder
