"""The checkpoints of a run that may be resumed."""

import math
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from segtricks.training.metrics_file import MetricsFile


class RunCheckpoint(ModelCheckpoint):
    """A ``ModelCheckpoint`` for runs that are resumed.

    It still knows its best value when the run folder was moved or copied, and what was logged before a checkpoint is in
    ``metrics.csv`` before the checkpoint is there. A training that ends inside an epoch, by ``max_steps``, leaves a
    checkpoint of that place, from which the rest of the epoch can be trained: Lightning (2.6) saves it as a whole one.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._by_steps = options.get("every_n_train_steps") is not None
        self._batches = 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save every so many steps, but leave the last batch of an epoch to the end of the epoch.

        Resumed between the two, Lightning (2.6) would not validate that epoch.
        """
        self._batches = batch_idx + 1
        if self._batches >= trainer.num_training_batches:
            return
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if self._by_steps and (trainer.should_stop or 0 < trainer.max_steps <= trainer.global_step):
            trainer.save_checkpoint(Path(str(self.dirpath)) / f"{self.filename}{self.FILE_EXTENSION}")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save at the end of an epoch, if it is one; of data without a length, every end is."""
        if self._batches >= trainer.num_training_batches or trainer.num_training_batches == math.inf:
            super().on_train_epoch_end(trainer, pl_module)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Write the scalars of the step that has just ended: Lightning logs them only after it has saved."""
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if trainer.training and every and trainer.global_step % every == 0:
            scalars = {key: float(value) for key, value in trainer.logged_metrics.items() if key.startswith("train/")}
            for logger in trainer.loggers:
                if isinstance(logger, MetricsFile):
                    logger.log_metrics({**scalars, "epoch": trainer.current_epoch}, trainer.global_step - 1)
                    logger.save()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the state, with its paths under the folder of today."""
        here = str(self.dirpath)

        def moved(path: str) -> str:
            return str(Path(here) / Path(path).name) if path else path

        paths = {key: moved(state_dict[key]) for key in ("best_model_path", "kth_best_model_path", "last_model_path")}
        best = {moved(path): value for path, value in state_dict["best_k_models"].items()}
        super().load_state_dict({**state_dict, **paths, "best_k_models": best, "dirpath": here})
