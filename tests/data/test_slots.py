"""What comes through the slots must be what would have come without them."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from segtricks.data.datasets.folder import ImageFolder
from segtricks.data.loading import TrainItems, collate_stacked
from segtricks.data.sampler import EpochSampler
from segtricks.data.slots import SlotCollate, SlotLoader
from segtricks.data.transforms import TrainTransform

plain = partial(collate_stacked, names=("image", "colors", "path"), size=8)


@pytest.fixture
def items(tmp_path: Path, write) -> TrainItems:  # type: ignore[no-untyped-def]
    """Forty small photographs, three of them broken."""
    for i in range(40):
        write(tmp_path / f"{i:02d}.png", size=(20, 16), seed=i)
    for i in (7, 20, 21):
        (tmp_path / f"{i:02d}.png").write_bytes(b"")
    return TrainItems(ImageFolder(tmp_path), TrainTransform(8, 16), seed=0)


def loader(items: TrainItems, workers: int, batch_size: int = 2) -> SlotLoader:
    collate, sampler = SlotCollate(batch_size, 8, workers), EpochSampler(items, batch_size)
    return SlotLoader(
        items, batch_size, sampler=sampler, collate_fn=collate, num_workers=workers, persistent_workers=workers > 0
    )


def equal(one: dict[str, Any], other: dict[str, Any]) -> bool:
    arrays = torch.equal(one["image"], other["image"]) and bool((one["colors"] == other["colors"]).all())
    return arrays and (one["path"], one["skipped"]) == (other["path"], other["skipped"])


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_batches_that_are_kept_are_those_of_a_plain_loader(items: TrainItems, workers: int) -> None:
    through = loader(items, workers)
    for epoch in (0, 1):
        through.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        batches = list(through)  # many more than there are slots
        expected = list(DataLoader(items, 2, sampler=through.sampler, collate_fn=plain))
        assert len(batches) == len(expected) == 20
        assert all(equal(*pair) for pair in zip(batches, expected, strict=True))
        assert sum(len(batch["skipped"]) for batch in batches) == 3


def test_an_epoch_left_in_its_middle_does_not_show_in_the_next(items: TrainItems) -> None:
    through = loader(items, 2)
    for taken in (1, 4, 5, 3, 20):
        batches = [batch for _, batch in zip(range(taken), through, strict=False)]
        expected = DataLoader(items, 2, sampler=through.sampler, collate_fn=plain)
        assert all(equal(*pair) for pair in zip(batches, expected, strict=False))


def test_a_batch_of_broken_files_is_empty(items: TrainItems) -> None:
    for path in items.dataset.images:
        path.write_bytes(b"")
    batch = next(iter(loader(items, 1)))
    assert (batch["image"].shape, batch["image"].dtype) == ((0, 3, 8, 8), torch.uint8)
    assert batch["colors"].shape == (0, 5, 2)
    assert len(batch["skipped"]) == 2


def test_changing_a_batch_changes_no_other(items: TrainItems) -> None:
    expected = list(loader(items, 1))
    for batch, other in zip(loader(items, 1), expected, strict=True):
        assert equal(batch, other)
        batch["image"].zero_()
