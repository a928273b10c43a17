"""The data of contrastive methods: pairs of views to train on, all else as usual."""

from functools import partial
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader

from segtricks.data.datamodule import TEST_SETS
from segtricks.data.labelled_datamodule import LabelledDataModule
from segtricks.data.sample import SegmentationDataset
from segtricks.data.transforms import resize_target
from segtricks.data.view_pairs import PairItems, PairTransform, collate_pairs
from segtricks.errors import UserError

AREA = [0.2, 1.0]
RATIO = [0.75, 1.3333]


class PairDataModule(LabelledDataModule):
    """A :class:`LabelledDataModule` whose training batches hold two views of each photograph, with their masks.

    ``image`` is float (2B, 3, size, size), the first views before the second ones, and ``target`` (2B, 1, s, s) of 0
    and 1; ``path`` has the B photographs, ``replaced`` those whose masks allow no view, so that others took their
    places (:class:`segtricks.data.view_pairs.PairItems`). Views are random boxes of the photograph once its short side
    is ``resize``; ``scale_range`` and ``blur_p`` do not apply.

    Args:
        train: Training set.
        test: Test sets, or a single one.
        area: Lowest and highest area of a view, as a share of the photograph's.
        ratio: Lowest and highest width of a view divided by its height.
        cells_per_patch: Reduce masks in training and validation, to the nearest pixel, to so many pixels along the side
            of a patch of the backbone; null keeps their size.
        labels: Folder of label maps, one class id a pixel, for folders or lists of photographs in ``test``, ``bank``
            and ``probe``.
        bank: Set with label maps, whose photographs give those of ``test`` their labels in retrieval.
        probe: Set with label maps that a linear probe is trained on before it is scored on ``test``.
        options: As for :class:`SaliencyDataModule`.
    """

    def __init__(
        self,
        train: str = "duts-tr",
        test: list[str] | str = TEST_SETS,
        area: list[float] = AREA,
        ratio: list[float] = RATIO,
        cells_per_patch: int | None = None,
        labels: str | None = None,
        bank: str | None = None,
        probe: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(train, test, labels, **options)
        if self._augment.scale_range is not None or self._augment.blur_p:
            raise UserError("Pairs of views are not scaled or blurred: leave out data.scale_range and data.blur_p.")
        if cells_per_patch is not None and cells_per_patch < 1:
            raise UserError(f"data.cells_per_patch is {cells_per_patch}: pass 1 or more, or null for whole masks.")
        self._pairs = PairTransform(self._augment, area, ratio)
        self.cells_per_patch = cells_per_patch
        self.bank, self.probe = bank, probe
        self._patch = self.multiple

    def fit_patches(self, patch: int) -> None:
        """Make sides of whole images multiples of the backbone's patch; a ``UserError`` where ``size`` is not one."""
        super().fit_patches(patch)
        self._patch = patch

    def on_after_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        """Colours, normalisation and the masks' size, on the model's device."""
        batch = super().on_after_batch_transfer(batch, dataloader_idx)
        # Those of training are reduced already.
        if isinstance(batch.get("target"), Tensor) and batch["target"].shape[-1] != self._side:
            batch["target"] = resize_target(batch["target"], self._side, self._side)
        return batch

    def bank_dataloader(self) -> DataLoader[Any] | None:
        """The photographs of ``bank`` with their label maps, in batches as those of ``test``."""
        return None if self.bank is None else self._whole(self._labelled(self.bank), crop=None)

    def probe_dataset(self) -> SegmentationDataset | None:
        """The set of ``probe``."""
        return None if self.probe is None else self._labelled(self.probe)

    def _labelled(self, spec: str) -> SegmentationDataset:
        dataset = self._open_test(spec)
        if dataset.target_kind != "labels":
            raise UserError(
                f"{spec} has no label maps.\nNext: pass voc12-train, or photographs with --data.labels FOLDER."
            )
        return dataset

    @property
    def _side(self) -> int:
        return self.size if self.cells_per_patch is None else self.size // self._patch * self.cells_per_patch

    def _train_items(self) -> PairItems:
        if self.targets != "mask":
            raise UserError(
                "Pairs of views have masks, which this method does not train on.\n"
                "Next: pass --data segtricks.data.SaliencyDataModule, or train --config maskcontrast."
            )
        return PairItems(self.train_dataset, self._pairs, self.seed, self._image_cache, self._side)

    def _train_collate(self) -> "partial[dict[str, Any]]":
        return partial(collate_pairs, size=self.size)
