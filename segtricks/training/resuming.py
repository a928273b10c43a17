"""Callbacks that let a run go on, exactly, after whatever has stopped it."""

import os
import random
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from segtricks.errors import Stopped
from segtricks.runs import RUNS


class StepSeeds(Callback):
    """Make the global random numbers of a training step a function of ``(seed, step, rank)`` alone.

    So a resumed run has those of the uninterrupted one, on every process, whatever else drew from them before.

    Args:
        seed: another seed is another stream.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Seed torch, numpy and Python."""
        mixed = np.random.SeedSequence([self.seed, trainer.global_step, batch_idx, trainer.global_rank])
        seed = int(mixed.generate_state(1)[0])
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)


def total_steps(trainer: Trainer) -> int | float:
    """Return the steps of the whole training, infinite without an end; also where :class:`StopAtStep` ends it."""
    ends = [callback.step for callback in trainer.callbacks if isinstance(callback, StopAtStep)]  # type: ignore[attr-defined]
    return min([trainer.estimated_stepping_batches, *ends])


class StopAtStep(Callback):
    """End a training after so many steps, without ``Trainer(max_steps=…)``.

    With that, Lightning (2.6) takes a checkpoint of the end of an epoch for one of its middle, and the resumed run
    leaves the next epoch out.

    Args:
        step: the last one.
    """

    def __init__(self, step: int) -> None:
        self.step = step

    @classmethod
    def instead_of_max_steps(cls, trainer: Trainer, checkpoint: dict[str, Any]) -> None:
        """Let a trainer that goes on from the end of an epoch stop by this callback; one at its last step is left."""
        epochs = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]
        if checkpoint["global_step"] < trainer.max_steps and epochs["started"] == epochs["processed"]:
            trainer.callbacks.insert(0, cls(trainer.max_steps))  # type: ignore[attr-defined]
            trainer.fit_loop.epoch_loop.max_steps = -1
            if trainer.max_epochs is None:  # without either limit, Lightning takes 1,000 epochs
                trainer.fit_loop.max_epochs = -1

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop after the last step as ``max_steps`` does: ``should_stop`` would log and validate there as well."""
        if trainer.global_step >= self.step:
            trainer.fit_loop.epoch_loop.max_steps = self.step


class KeepConfig(Callback):
    """Write the run's config into every checkpoint, to show on resume what has changed since.

    Args:
        config: the complete config as plain data.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config

    def on_save_checkpoint(self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add ``config``."""
        checkpoint["config"] = self.config


class KeepProvenance(Callback):
    """Write what a run has found out into its config: before the first step, after each validation and at the end.

    Args:
        keep: writes it.
    """

    def __init__(self, keep: Callable[[], None]) -> None:
        self._keep = keep

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Write weights and threshold."""
        self._keep()

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Write the sign so far."""
        if not trainer.sanity_checking:
            self._keep()

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Write the final sign."""
        self._keep()


class StopSignals(Callback):
    """End a fit at SIGTERM after the step at work, with a checkpoint; at Slurm's SIGUSR1 also requeue the job.

    Lightning (2.6) saves at SIGUSR1 within the signal's handler, which may be between the optimiser's step and the
    teacher's, and at SIGTERM not at all. Its handlers are in force until the first step, and these from then on.

    Args:
        run: the run folder.
    """

    def __init__(self, run: Path) -> None:
        self.run = run
        self._asked: int | None = None

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Take the signals over; Lightning puts the former handlers back at the end of the fit."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._ask)
            if "SLURM_JOB_ID" in os.environ:
                signal.signal(signal.SIGUSR1, self._ask)

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save and stop if any process was asked to, where a checkpoint is exact: see ``RunCheckpoint``.

        Raises:
            Stopped: once the checkpoint is written.
        """
        asked = trainer.strategy.reduce_boolean_decision(self._asked is not None, all=False)
        within = batch_idx + 1 < trainer.num_training_batches
        if not (asked and within and (batch_idx + 1) % trainer.accumulate_grad_batches == 0):
            return
        trainer.save_checkpoint(self.run / "checkpoints" / "last.ckpt")
        message = f"Stopped by a signal at step {trainer.global_step:,}"
        if self._asked == getattr(signal, "SIGUSR1", None):
            message += f"; {_requeue()}" if trainer.is_global_zero else ""
        raise Stopped(f"{message}. {resume_words(self.run)}")

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._asked = number


def resume_words(run: Path) -> str:
    """Return what to type next after a stop."""
    return f"Next: segtricks fit --resume --name {run.relative_to(RUNS) if run.is_relative_to(RUNS) else run}"


def _requeue() -> str:
    """Give the job back to Slurm, which starts its script again."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    job = f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ["SLURM_JOB_ID"]
    try:
        done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True)
    except OSError as error:
        return f"job {job} was not requeued ({error.strerror})"
    return f"job {job} is requeued" if done.returncode == 0 else f"job {job} was not requeued ({done.stderr.strip()})"
