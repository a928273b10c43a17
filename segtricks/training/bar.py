"""What makes a training step wait for nothing: a bar that seldom reads the loss, and cuDNN's choice of kernels."""

import math
import time
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm
from tqdm import tqdm

from segtricks.training.resuming import total_steps


class TrainingBar(TQDMProgressBar):
    """Lightning's bar, which reads ``train/loss`` when the loggers do (``log_every_n_steps``) and shows it until then.

    It says which epoch of how many it is, and how long all of them will still take.

    To read it, the host waits for a GPU. What is logged with ``prog_bar`` Lightning (2.6) reads at every step.
    """

    def __init__(self, refresh_rate: int = 1) -> None:
        super().__init__(refresh_rate)
        self._shown: dict[str, Any] = {}
        self._began, self._first = 0.0, 0

    def init_train_tqdm(self) -> Tqdm:
        """Make the bar of an epoch."""
        return _shown_anywhere(super().init_train_tqdm())

    def init_validation_tqdm(self) -> Tqdm:
        """Make the bar of a validation."""
        return _shown_anywhere(super().init_validation_tqdm())

    def init_test_tqdm(self) -> Tqdm:
        """Make the bar of a test."""
        return _shown_anywhere(super().init_test_tqdm())

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make the bar, with its total also where an epoch is resumed in its middle and does not start."""
        super().on_train_start(trainer, pl_module)
        self._began, self._first = time.monotonic(), trainer.global_step
        total = self.total_train_batches
        self.train_progress_bar.total = int(total) if total < math.inf else None
        self._describe(trainer)

    def on_train_epoch_start(self, trainer: Trainer, *_: Any) -> None:
        """Say which epoch of how many it is."""
        super().on_train_epoch_start(trainer, *_)
        self._describe(trainer)

    def _describe(self, trainer: Trainer) -> None:
        last = trainer.max_epochs
        of = f" of {last}" if last and last > 0 else ""
        self.train_progress_bar.set_description(f"Epoch {trainer.current_epoch + 1}{of}")

    def _left(self, trainer: Trainer) -> str | None:
        """The time that all epochs together will still take, None before anything is known of it."""
        done, steps = trainer.global_step - self._first, total_steps(trainer)
        if done < 1 or steps == math.inf:
            return None
        seconds = (time.monotonic() - self._began) / done * max(0, steps - trainer.global_step)
        return str(tqdm.format_interval(seconds))

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """What stands behind the bar."""
        every = max(1, trainer.log_every_n_steps)  # type: ignore[attr-defined]
        if not trainer.training or not self._shown or trainer.global_step % every == 0:
            self._shown = super().get_metrics(trainer, pl_module)
            self._shown.pop("v_num", None)  # the last letters of an id
            if trainer.training and (left := self._left(trainer)):
                self._shown["left"] = left
            if "train/loss" in trainer.callback_metrics:
                self._shown["train/loss"] = float(trainer.callback_metrics["train/loss"])
        return self._shown

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the epoch's last loss."""
        self._shown = {}
        super().on_train_epoch_end(trainer, pl_module)


def _shown_anywhere(bar: Tqdm) -> Tqdm:
    """Give a bar a size in a terminal that says it has no rows, where tqdm shows none."""
    if bar.disable:  # as on every process but the first; such a bar has no size
        return bar
    if bar.nrows is not None and bar.nrows < 1:
        bar.dynamic_ncols = False
        bar.ncols, bar.nrows = 120, 24
    return bar


class CudnnBenchmark(Callback):
    """While a model trains on a GPU, let cuDNN time its kernels and take the fastest: all batches have one size then.

    Not in ``test`` and ``predict``, where nearly every photograph has a size of its own.
    """

    def __init__(self) -> None:
        self._before: bool | None = None

    def on_fit_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Switch it on."""
        if trainer.strategy.root_device.type == "cuda":
            self._before = torch.backends.cudnn.benchmark
            torch.backends.cudnn.benchmark = True

    def teardown(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        """Leave it as it was."""
        if self._before is not None:
            torch.backends.cudnn.benchmark = self._before
            self._before = None
