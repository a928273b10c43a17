"""The data sets of a run, opened when they are first asked for."""

import warnings
from collections import Counter
from pathlib import Path

from segtricks.data.datasets.registry import open_dataset
from segtricks.data.sample import SaliencyDataset
from segtricks.data.sampler import process_rank
from segtricks.data.splits import hold_out
from segtricks.errors import UserError


class OpenedSets:
    """Training, held-out and test sets of a data module, which inherits from it and has the options."""

    train: str
    test: list[str]
    root: str
    batch_size: int
    held_out: int | float
    train_limit: int | None
    test_limit: int | None
    masks: str | None
    boxes: str | None
    hard: bool
    _splits: tuple[SaliencyDataset, SaliencyDataset] | None
    _tests: list[SaliencyDataset] | None

    @property
    def train_dataset(self) -> SaliencyDataset:
        """Training photographs, without the held-out ones."""
        return self._split()[0]

    @property
    def held_out_dataset(self) -> SaliencyDataset:
        """Training photographs kept for validation."""
        return self._split()[1]

    @property
    def test_datasets(self) -> list[SaliencyDataset]:
        """Test sets in the order of ``test``, each with masks, boxes or both."""
        if self._tests is None:
            opened = [
                open_dataset(spec, self.root, masks=self.masks, boxes=self.boxes, hard=self.hard) for spec in self.test
            ]
            self._tests = [dataset.select(range(len(dataset))[: self.test_limit]) for dataset in opened]
        return self._tests

    @property
    def test_names(self) -> list[str]:
        """A short name for each test set: as given, or of a path its last part."""
        short = [Path(spec).name or spec for spec in self.test]
        return [spec if Counter(short)[name] > 1 else name for spec, name in zip(self.test, short, strict=True)]

    @property
    def counts(self) -> dict[str, int]:
        """Images of the datasets that are open by now: ``train``, ``held_out`` and each test set's name."""
        fit = zip(("train", "held_out"), self._splits or (), strict=False)
        tests = zip(self.test_names, self._tests or (), strict=False)
        return {name: len(dataset) for name, dataset in (*fit, *tests)}

    def describe(self) -> str:
        """One line: how many images of what; opens all datasets."""
        text = f"train {self.train} ({len(self.train_dataset):,} images, {len(self.held_out_dataset):,} held out)"
        pairs = zip(self.test_names, self.test_datasets, strict=True)
        tests = ", ".join(f"{name} ({len(dataset):,})" for name, dataset in pairs)
        return f"{text}, test {tests}" if tests else text

    def check(self) -> None:
        """Open every dataset now, so that no long fit ends at a missing test set; warn where train and test overlap.

        Raises:
            UserError: As on use.
        """
        seen = {path for dataset in self._split() for path in dataset.images}
        self._check_train_size()
        for name, dataset in zip(self.test_names, self.test_datasets, strict=True):
            if shared := sum(path in seen for path in dataset.images):
                message = f"{shared:,} of the {len(dataset):,} images of the test set {name} are also trained on."
                warnings.warn(message, stacklevel=2)

    def _split(self) -> tuple[SaliencyDataset, SaliencyDataset]:
        if self._splits is None:
            dataset = open_dataset(self.train, self.root, require_masks=False)
            self._splits = hold_out(dataset, self.held_out, self.train_limit)
        return self._splits

    def _check_train_size(self) -> None:
        images, processes = len(self.train_dataset), process_rank()[1]
        share = images // processes
        if share < self.batch_size:
            where = f" for each of {processes} processes" if processes > 1 else ""
            raise UserError(
                f"{self.train} leaves {share} training images{where} ({len(self.held_out_dataset)} are held out), "
                f"less than one batch of {self.batch_size}: pass --data.batch_size {max(1, share)} or less."
            )
