"""Weights & Biases beside the files: made on request, fed with scalars, panels, tables and the config."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import Logger, WandbLogger

from segtricks.errors import UserError
from segtricks.reports.html_page import place
from segtricks.reports.pictures import Panel, as_array


def wandb_logger(run: Path, mode: str) -> Logger:
    """Return a logger for ``--wandb offline`` or ``online`` that will keep its files under the run folder."""
    import wandb

    # No metadata: it holds the command line, the working folder and the user's name. The config says what was run.
    settings = wandb.Settings(silent=True, console="off", save_code=False, x_disable_meta=True)
    return WandbLogger(name=run.name, save_dir=run, project="segtricks", offline=mode == "offline", settings=settings)


def start_wandb(trainer: Trainer, config: dict[str, Any]) -> None:
    """Start W&B and give it the whole config, once, its absolute paths cut to their last part.

    Raises:
        UserError: if the service cannot be reached or no account is set up.
    """
    for logger in _wandb(trainer):
        try:
            logger.experiment.config.update(without_folders(config), allow_val_change=True)
        except Exception as error:
            raise UserError(
                f"Weights & Biases did not start: {error}.\nNext: wandb login, or pass --wandb offline."
            ) from error


def log_panels(trainer: Trainer, key: str, panels: Sequence[Panel]) -> None:
    """Give W&B the images with their masks as switchable layers."""
    loggers = _wandb(trainer)
    if loggers:
        import wandb

        images = [
            wandb.Image(
                as_array(panel.image),
                caption=panel.title,
                masks={
                    name.replace(" ", "_"): {
                        "mask_data": (mask[0] > 0.5).int().cpu().numpy(),
                        "class_labels": {0: "background", 1: "foreground"},
                    }
                    for name, mask in panel.masks.items()
                },
            )
            for panel in panels
        ]
        for logger in loggers:
            logger.experiment.log({key: images, "trainer/global_step": trainer.global_step})


def log_scores(
    trainer: Trainer, scores: dict[str, float], columns: Sequence[str], rows: Sequence[Sequence[Any]]
) -> None:
    """Give W&B the figures of a test, as summary values and as a table."""
    for logger in _wandb(trainer):
        import wandb

        logger.experiment.summary.update(scores)
        logger.experiment.log({"test/scores": wandb.Table(columns=list(columns), data=[list(row) for row in rows])})


def without_folders(content: Any) -> Any:
    """Plain data whose absolute paths are cut to their last part: a server need not know this machine's folders."""
    if isinstance(content, dict):
        return {key: without_folders(value) for key, value in content.items()}
    if isinstance(content, list):
        return [without_folders(value) for value in content]
    if isinstance(content, str) and (content.startswith("~") or Path(content).is_absolute()):
        return place(content)
    return content


def finish_wandb(trainer: Trainer) -> None:
    """Write out what W&B still holds and close its run."""
    for logger in _wandb(trainer):
        logger.experiment.finish()


def _wandb(trainer: Trainer) -> list[WandbLogger]:
    return [logger for logger in trainer.loggers if isinstance(logger, WandbLogger)]
