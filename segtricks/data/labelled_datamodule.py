"""Test sets of label maps, which a method that is trained without any label is scored on."""

from typing import Any

from segtricks.data.datamodule import TEST_SETS, SaliencyDataModule
from segtricks.data.datasets.registry import DATASET_NAMES, open_dataset
from segtricks.data.sample import SegmentationDataset


class LabelledDataModule(SaliencyDataModule):
    """A :class:`SaliencyDataModule` whose test sets may have a class for every pixel.

    Args:
        train: Training set.
        test: Test sets, or a single one; those with classes are read as label maps.
        labels: Folder of label maps, one class id a pixel, for folders or lists of photographs.
        options: As for :class:`SaliencyDataModule`.
    """

    def __init__(
        self,
        train: str = "duts-tr",
        test: list[str] | str = TEST_SETS,
        labels: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(train, test, **options)
        self.labels = labels

    def _open_test(self, spec: str) -> SegmentationDataset:
        if self.labels is not None and spec.split("[")[0] not in DATASET_NAMES:
            dataset = open_dataset(spec, self.root, masks=self.labels).with_targets("labels")
            dataset.reading.check_labels("--data.labels")
            return dataset
        dataset = super()._open_test(spec)
        return dataset.with_targets("labels") if dataset.classes else dataset
