"""Training batches from workers to the main process through shared memory that is written over and over.

A loader of torch takes fresh shared memory for every batch, and the kernel hands it out and clears it page by page: for
photographs at 320 pixels that is a fifth of the time of decoding and resizing them, and more than reading them from the
cache. Here each worker has a few places of its own, and only their numbers travel.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import get_worker_info

from segtricks.data.loading import Item, Skipped, collate_stacked
from segtricks.data.sampler import ResumableLoader

# A worker is at most two batches ahead of the one that the main process took last (a loader's prefetch_factor), and
# that one is still to be copied.
_SLOTS = 3


class SlotCollate:
    """:func:`segtricks.data.loading.collate_stacked` for training items, its images left in a slot of the worker's.

    Args:
        batch_size: Images of a batch, at most.
        size: Their side.
        workers: Number of workers; without any, batches hold their images as usual.
    """

    def __init__(self, batch_size: int, size: int, workers: int) -> None:
        self.size = size
        self._memory = torch.empty(workers, _SLOTS, batch_size, 3, size, size, dtype=torch.uint8).share_memory_()
        self._next = 0

    def __call__(self, items: Sequence[Item | Skipped]) -> dict[str, Any]:
        """A batch whose ``image`` is (worker, slot, number of images), to be given to :meth:`take`."""
        worker = get_worker_info()
        if worker is None:
            return collate_stacked(items, ("image", "colors", "path"), self.size)
        images = [item["image"] for item in items if not isinstance(item, Skipped)]
        slot, self._next = self._next, (self._next + 1) % _SLOTS
        if images:
            torch.stack(images, out=self._memory[worker.id, slot, : len(images)])
        return collate_stacked(items, ("colors", "path"), self.size) | {"image": (worker.id, slot, len(images))}

    def take(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The batch with a copy of its images (B, 3, size, size), pinned where there is CUDA."""
        if isinstance(batch["image"], torch.Tensor):
            return batch
        worker, slot, count = batch["image"]
        images = self._memory[worker, slot, :count]
        return batch | {"image": images.pin_memory() if torch.cuda.is_available() else images.clone()}


class SlotLoader(ResumableLoader):
    """The training loader; its ``collate_fn`` is a :class:`SlotCollate`."""

    def __iter__(self) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        """Batches as without slots."""
        collate: SlotCollate = self.collate_fn  # type: ignore[assignment]
        return map(collate.take, super().__iter__())
