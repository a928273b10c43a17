"""The LightningDataModule of single-object discovery: test sets with boxes, scored by CorLoc."""

from typing import Any

from segtricks.data.datamodule import SaliencyDataModule
from segtricks.data.sample import SaliencyDataset
from segtricks.errors import UserError

DETECTION_SETS = ["voc07", "voc12", "coco20k"]


class DetectionDataModule(SaliencyDataModule):
    """A :class:`SaliencyDataModule` whose test sets have boxes; its batches and options are the same.

    Training needs no labels and so takes any set of photographs.

    Args:
        train: Training set.
        test: Test sets with boxes, or a single one: ``voc07``, ``voc12``, ``coco20k``, or photographs with ``boxes``.
        options: As for :class:`SaliencyDataModule`.

    Raises:
        UserError: As there, and for a test set without boxes.
    """

    def __init__(self, train: str = "duts-tr", test: str | list[str] = DETECTION_SETS, **options: Any) -> None:
        super().__init__(train, test, **options)

    @property
    def test_datasets(self) -> list[SaliencyDataset]:
        """Test sets in the order of ``test``, each with boxes."""
        datasets = super().test_datasets
        for dataset in datasets:
            if dataset.annotations is None:
                raise UserError(
                    f"The test set {dataset.name} has no boxes: pass --data.test with one of "
                    f"{', '.join(DETECTION_SETS)}, or photographs with --data.boxes."
                )
        return datasets
