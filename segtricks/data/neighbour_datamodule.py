"""The data of STEGO: photographs with one of their neighbours each, all else as usual."""

import hashlib
import json
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader

from segtricks.data.datasets.registry import is_photographs
from segtricks.data.labelled_datamodule import LabelledDataModule
from segtricks.data.loading import collate_stacked, make_loader
from segtricks.data.neighbours import FiveCrops, MiddleItems, NeighbourItems, collate_neighbours
from segtricks.data.sample import SegmentationDataset
from segtricks.errors import UserError


class NeighbourDataModule(LabelledDataModule):
    """A :class:`LabelledDataModule` whose training batches hold photographs, and for each one that looks like it.

    ``image`` is float (2B, 3, size, size), the photographs before their neighbours; ``path`` has the B photographs, and
    ``target``, where a method asks for labels, is theirs. Which photographs are neighbours is the method's to find,
    from :meth:`middles`, and to hand to :meth:`use_neighbours`.

    Args:
        train: Training set.
        test: Test sets with label maps, or a single one.
        neighbours: Of each photograph, one of which is drawn each time.
        five_crops: Train on the four corners and the middle of each photograph, each of half its sides, in place of the
            whole.
        labels: Folder of label maps, one class id a pixel, for folders or lists of photographs in ``test``.
        options: As for :class:`SaliencyDataModule`; ``masks`` are label maps of ``train``, for a linear probe alone.
    """

    def __init__(
        self,
        train: str = "duts-tr",
        test: list[str] | str = "voc12-val",
        neighbours: int = 7,
        five_crops: bool = False,
        labels: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(train, test, labels, **options)
        if neighbours < 1:
            raise UserError(f"data.neighbours is {neighbours}: pass 1 or more, for example --data.neighbours 7.")
        if five_crops and self.cache:
            raise UserError("The cache keeps whole photographs: leave out data.cache or data.five_crops.")
        self.neighbours, self.five_crops = neighbours, five_crops
        self._table: Tensor | None = None

    def use_neighbours(self, table: Tensor) -> None:
        """Take the places (N, k) of the neighbours of each training photograph."""
        self._table = table

    def middles(self) -> DataLoader[Any]:
        """The middles of the training photographs, in batches with ``image``, ``path`` and ``place``, once each."""
        items = MiddleItems(self._photographs(), self._crop, self._image_cache)
        collate = partial(collate_stacked, names=["image", "path", "place"], size=self.size)
        return make_loader(items, collate, self.num_workers, batch_size=self.eval_batch_size)

    def neighbours_key(self, network: str) -> str:
        """Return a hash of what the neighbours depend on, ``network`` being that of the features."""
        paths = [str(path) for path in self.train_dataset.images]
        choices = [network, self.neighbours, self.five_crops, self.size, self._crop.resize, self.orientation]
        return hashlib.sha256(json.dumps([choices, paths]).encode()).hexdigest()[:16]

    def _photographs(self) -> SegmentationDataset:
        dataset = self.train_dataset
        dataset = dataset.select(range(len(dataset)))
        dataset.masks = None
        return dataset

    def _split(self) -> tuple[SegmentationDataset, SegmentationDataset]:
        if self._splits is None:
            train, held_out = super()._split()
            self._splits = (FiveCrops(train) if self.five_crops else train, held_out)
        return self._splits

    def _open_test(self, spec: str) -> SegmentationDataset:
        if self.labels is None and is_photographs(Path(spec.split("[")[0]).expanduser()):
            raise UserError(f"{spec} has no label maps to compare clusters with: pass their folder as --data.labels.")
        return super()._open_test(spec)

    def _open_train(self) -> SegmentationDataset:
        if self.targets is None or self.masks is not None:
            return super()._open_train()
        if not self._open(self.train, require_masks=False).classes:
            raise UserError(
                f"A linear probe learns label maps, and {self.train} has none.\n"
                "Next: pass their folder as --data.masks, or leave out --model.linear_probe."
            )
        return self._open(self.train).with_targets("labels")

    def _train_items(self) -> NeighbourItems:
        if self._table is None:
            raise UserError(
                "No method has found the neighbours of these photographs.\nNext: train with --config stego."
            )
        options = (self.seed, self._table, self._image_cache, self.targets is not None)
        return NeighbourItems(self.train_dataset, self._augment, *options)

    def _train_collate(self) -> "partial[dict[str, Any]]":
        return partial(collate_neighbours, size=self.size, targets=self.targets)
