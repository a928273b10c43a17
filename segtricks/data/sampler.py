"""The order of the training images, and how far an interrupted epoch had come."""

import warnings
from collections.abc import Callable, Iterator
from math import ceil
from typing import Any

import torch
from numpy.random import default_rng
from torch.utils.data import DataLoader, Dataset, DistributedSampler, Sampler


class EpochSampler(DistributedSampler[tuple[int, int]]):
    """Yields ``(epoch, index)``: the permutation is a function of ``(seed, epoch)`` alone.

    Each of several processes gets its own share, all of the same length; the remainder of a division sits out the
    epoch. Being a ``DistributedSampler``, it is left in place by Lightning, whose trainer calls ``set_epoch``.

    Args:
        dataset: The training images; only their number matters.
        batch_size: Images of one batch of one process, to count interrupted epochs in.
        seed: Another seed is another order.
        clock: Gives the epoch instead of ``set_epoch``: after a checkpoint that was written between two epochs of a run
            with ``max_steps``, Lightning (2.6) calls that with one epoch too many.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        batch_size: int,
        seed: int = 0,
        clock: Callable[[], int] | None = None,
    ) -> None:
        rank, world = process_rank()
        super().__init__(dataset, world, rank, shuffle=True, seed=seed, drop_last=True)
        self.batch_size = batch_size
        self._images = len(dataset)  # type: ignore[arg-type]
        self._clock = clock
        self._entry = (0, 0)

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer before each epoch."""
        self.epoch = epoch if self._clock is None else self._clock()

    def resume(self, epoch: int, batches: int) -> None:
        """Start with this epoch, without the batches that were already seen; later epochs are whole."""
        self.epoch = epoch
        self._entry = (epoch, batches)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """This process's share of the epoch, or what is left of it; the length stays that of the whole."""
        epoch, batches = self._entry
        skip = batches * self.batch_size if epoch == self.epoch else 0
        order = default_rng([self.seed, self.epoch]).permutation(self._images)
        share = order[: self.total_size][self.rank : self.total_size : self.num_replicas]
        return iter([(self.epoch, int(index)) for index in share[skip:]])


class ShareSampler(DistributedSampler[int]):
    """Every ``world``-th image from ``rank`` on: each image on exactly one process, none twice, unlike its parent."""

    def __init__(self, dataset: Dataset[Any]) -> None:
        rank, world = process_rank()
        super().__init__(dataset, world, rank, shuffle=False)
        self._share = range(rank, len(dataset), world)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[int]:
        """Indices of this process."""
        return iter(self._share)

    def __len__(self) -> int:
        """Number of images of this process."""
        return len(self._share)


class ShareBatches(Sampler[list[int]]):
    """Batches of each process's share of the images, each image once, and of all processes as many.

    Processes whose share is used up get empty batches: wrapped models wait for each other in every forward pass, and an
    image that is repeated to fill up would be counted twice.
    """

    def __init__(self, dataset: Dataset[Any], batch_size: int) -> None:
        self._images = len(dataset)  # type: ignore[arg-type]
        self.batch_size = batch_size
        self._rank, self._world = process_rank()

    def __iter__(self) -> Iterator[list[int]]:
        """Indices of the batches of this process."""
        share = list(range(self._rank, self._images, self._world))
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            yield share[start : start + self.batch_size]

    def __len__(self) -> int:
        """Number of batches, the same on every process."""
        return ceil(ceil(self._images / self._world) / self.batch_size)


class ResumableLoader(DataLoader[Any]):
    """A loader whose epochs can be entered in their middle, which Lightning sees by these two methods.

    Where one is entered is the datamodule's state: a loader does not know how many of its batches were trained on.
    """

    def state_dict(self) -> dict[str, Any]:
        """Nothing of its own."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to load."""


class EpochPlace:
    """Where training goes on: written into a datamodule's checkpoint, and found again by its next training loader."""

    def __init__(self) -> None:
        self.left: dict[str, Any] | None = None
        """What a checkpoint left for the next training loader; None to begin with a whole epoch."""

    def state(self, trainer: Any, cut: dict[str, int]) -> dict[str, Any]:
        """The epoch, its batches already trained on, and what they were cut from."""
        # The loops' checkpoint format, because their attributes are Lightning's own affair.
        epoch, batches = position(trainer.fit_loop.state_dict(), trainer.num_training_batches)
        return {"epoch": epoch, "batches": batches, "cut": cut}

    def enter(self, sampler: EpochSampler, cut: dict[str, int], epoch: int) -> None:
        """Take up what a checkpoint left, once, or start ``epoch``; warn where the batches are cut differently now."""
        state, self.left = self.left, None
        if state is None:
            return sampler.set_epoch(epoch)
        changed = [f"{key} {state['cut'][key]} -> {now}" for key, now in cut.items() if state["cut"][key] != now]
        if state["batches"] and changed:
            message = f"The checkpoint lies within an epoch and the data changed ({', '.join(changed)}): "
            warnings.warn(message + "the rest of this epoch is not exactly what was left of it.", stacklevel=3)
        sampler.resume(state["epoch"], state["batches"])


def position(loops: dict[str, Any], batches_per_epoch: float) -> tuple[int, int]:
    """The epoch to go on with and its batches already trained on, from the state of Lightning's fit loop."""
    epochs, batches = loops["epoch_progress"]["current"], loops["epoch_loop.batch_progress"]["current"]
    if epochs["started"] == epochs["processed"]:  # between two epochs; the batches are still those of the last
        return epochs["processed"], 0
    if batches["processed"] >= batches_per_epoch:  # after an epoch's last batch, before its end
        return epochs["processed"] + 1, 0
    return epochs["processed"], batches["processed"]


def process_rank() -> tuple[int, int]:
    """Number of this process and of all, (0, 1) outside of distributed training."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1
