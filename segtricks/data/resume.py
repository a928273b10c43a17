"""The place within an epoch that a checkpoint remembers."""

import warnings
from typing import Any

from segtricks.data.sampler import EpochSampler, position


class EpochPlace:
    """Where training goes on: written into a datamodule's checkpoint, and found again by its next training loader."""

    def __init__(self) -> None:
        self._left: dict[str, Any] | None = None

    def state(self, trainer: Any, cut: dict[str, int]) -> dict[str, Any]:
        """The epoch, its batches already trained on, and what they were cut from."""
        # The loops' checkpoint format, because their attributes are Lightning's own affair.
        epoch, batches = position(trainer.fit_loop.state_dict(), trainer.num_training_batches)
        return {"epoch": epoch, "batches": batches, "cut": cut}

    def load(self, state: dict[str, Any]) -> None:
        """Remember the place for the next training loader."""
        self._left = state

    def forget(self) -> None:
        """Begin with a whole epoch."""
        self._left = None

    def enter(self, sampler: EpochSampler, cut: dict[str, int], epoch: int) -> None:
        """Take up what a checkpoint left, once, or start ``epoch``; warn where the batches are cut differently now."""
        state, self._left = self._left, None
        if state is None:
            return sampler.set_epoch(epoch)
        changed = [f"{key} {state['cut'][key]} -> {now}" for key, now in cut.items() if state["cut"][key] != now]
        if state["batches"] and changed:
            message = f"The checkpoint lies within an epoch and the data changed ({', '.join(changed)}): "
            warnings.warn(message + "the rest of this epoch is not exactly what was left of it.", stacklevel=3)
        sampler.resume(state["epoch"], state["batches"])
