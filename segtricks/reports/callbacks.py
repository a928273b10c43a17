"""Callbacks of a run: pictures while it trains, a file per test set, one word on files that cannot be read."""

import logging
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from segtricks.data.transforms import denormalize
from segtricks.errors import UserError
from segtricks.reports.media import log_panels, section
from segtricks.reports.names import set_keys
from segtricks.reports.pictures import Panel, outlined, panel_figure, save_figure
from segtricks.runs import file_name
from segtricks.training.metrics_file import MetricsFile

log = logging.getLogger(__name__)


class ValidationPanels(Callback):
    """After each validation, write ``figures/validation.png`` (and one per epoch under ``figures/epochs``).

    Args:
        run: the run folder.
        count: images shown.
    """

    def __init__(self, run: Path, count: int) -> None:
        self.figures, self.count = run / "figures", count
        self._panels: list[Panel] = []

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the first images of the held-out set."""
        if not isinstance(outputs, Tensor):
            return
        images = denormalize(batch["image"])
        refined = module.refiner(outputs, images)  # type: ignore[operator]
        for i in range(min(self.count - len(self._panels), len(outputs))):
            masks = {"soft mask": outputs[i], "guided filter": refined[i].clamp(0, 1)}
            if "mask" in batch and not batch["mask"][i].isnan().any():
                masks["target"] = batch["mask"][i]
            masks = {name: mask.detach().cpu() for name, mask in masks.items()}
            self._panels.append(Panel(Path(batch["path"][i]).name, images[i].cpu(), masks))

    def on_validation_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Write the picture."""
        if self._panels and trainer.is_global_zero and not trainer.sanity_checking:
            figure = panel_figure(self._panels)
            save_figure(figure, self.figures / "validation.png")
            save_figure(figure, self.figures / "epochs" / f"validation-{trainer.current_epoch:03d}.png", dpi=80)
            log_panels(trainer, "val/masks", self._panels, figure)
        self._panels = []


class TestPanels(Callback):
    """Write ``figures/test-DATASET.png``: image, mask, refined mask and target of the first images of each test set.

    Boxes are drawn onto the image. Where the model was tested before training too, its plain masks of that time get a
    column: image, before, after, after + guided filter, target.
    """

    def __init__(self, run: Path, count: int) -> None:
        self.figures, self.count = run / "figures", count
        self._panels: dict[str, list[Panel]] = {}
        self._before: dict[tuple[str, str], Tensor] = {}

    def on_test_batch_end(
        self,
        trainer: Trainer,
        module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the first images of each set."""
        name = trainer.datamodule.test_names[dataloader_idx]  # type: ignore[attr-defined]
        panels = self._panels.setdefault(name, [])
        for i in range(min(self.count - len(panels), len(batch["path"]))):
            masks = {row: masks[i].cpu() for row, masks in outputs.items()}
            if section(trainer, module) == "before":
                self._before[name, batch["path"][i]] = next(iter(masks.values()))
            elif (before := self._before.pop((name, batch["path"][i]), None)) is not None:
                masks = {"before": before} | {row.replace("mask", "after", 1): mask for row, mask in masks.items()}
            photo = batch["photo"][i]
            if "mask" in batch:
                masks["target"] = batch["mask"][i].cpu() / 255
            if "boxes" in batch:
                photo = outlined(photo, batch["boxes"][i])
            panels.append(Panel(Path(batch["path"][i]).name, photo, masks))

    def on_test_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Write the pictures."""
        if trainer.is_global_zero:
            keys = set_keys(trainer.datamodule.test_names)  # type: ignore[attr-defined]
            for name, panels in self._panels.items():
                if not panels:  # --panels 0, or no readable image
                    continue
                save_figure(figure := panel_figure(panels), self.figures / f"test-{file_name(name)}.png")
                log_panels(trainer, f"{section(trainer, module)}/{keys[name]}/masks", panels, figure)
        self._panels = {}


class RunCheckpoint(ModelCheckpoint):
    """A ``ModelCheckpoint`` for runs that are resumed.

    It still knows its best value when the run folder was moved or copied, and what was logged before a checkpoint is in
    ``metrics.csv`` before the checkpoint is there.
    """

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save every so many steps, but leave the last batch of an epoch to the end of the epoch.

        Resumed between the two, Lightning (2.6) would not validate that epoch.
        """
        if batch_idx + 1 < trainer.num_training_batches:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

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


class BadFiles(Callback):
    """Name every file that could not be read, once; stop when they are more than a share of the images.

    One bad file never stops a run.

    Args:
        share: largest share of unreadable files, for example 0.01.
    """

    def __init__(self, share: float) -> None:
        self.share = share
        self._seen: dict[str, str] = {}

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the batch's bad files."""
        self._count(batch, trainer.datamodule.counts["train"])  # type: ignore[attr-defined]

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count the batch's bad files."""
        self._count(batch, trainer.datamodule.counts["train"])  # type: ignore[attr-defined]

    def on_test_batch_end(
        self,
        trainer: Trainer,
        module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count the batch's bad files."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        self._count(batch, data.counts[data.test_names[dataloader_idx]])

    def _count(self, batch: dict[str, Any], images: int) -> None:
        for path, reason in batch["skipped"]:
            if path not in self._seen:
                self._seen[path] = reason
                log.warning("skipped %s: %s", path, reason)
        allowed = max(1, int(self.share * images))
        if len(self._seen) > allowed:
            raise UserError(
                f"{len(self._seen)} of {images} files could not be used, more than the {allowed} allowed; the last: "
                f"{next(reversed(self._seen))}.\n"
                "Next: repair or remove them, or allow more with --max_bad_share 0.1 (fit: beside --resume)."
            )
