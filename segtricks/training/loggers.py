"""Loggers in addition to the files: Weights & Biases and TensorBoard, made on request and given the whole config."""

import os
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger

from segtricks.errors import UserError
from segtricks.runs import replacing, without_folders

_STAGING = "WANDB_DATA_DIR"
_CHOSEN = _STAGING in os.environ
_ID = "wandb/run-id.txt"


def wandb_logger(run: Path, mode: str, job: str = "fit") -> Logger:
    """Return a logger for ``--wandb offline`` or ``online`` that will keep its files under the run folder.

    Group, tags and job type come from ``WANDB_RUN_GROUP``, ``WANDB_TAGS`` and ``WANDB_JOB_TYPE``, which
    ``segtricks experiment`` sets; without the last, the type is ``job``. A ``fit`` that is resumed goes on in the W&B
    run whose id :func:`start_loggers` kept.
    """
    import wandb

    if not _CHOSEN:  # else tables wait for their upload in the home folder, and a copy of the run lacks them
        os.environ[_STAGING] = str(run.resolve() / "wandb")
    # No metadata: it holds the command line, the working folder and the user's name. The config says what was run.
    settings = wandb.Settings(silent=True, console="off", save_code=False, x_disable_meta=True)
    kept = run / _ID
    logger = WandbLogger(
        name=run.name,
        save_dir=run,
        project="segtricks",
        offline=mode == "offline",
        settings=settings,
        job_type=os.environ.get("WANDB_JOB_TYPE") or job,
        id=kept.read_text() if job == "fit" and kept.is_file() else None,  # a new one: W&B's own, or its sweep's
    )
    # Lightning (2.6) passes an option that W&B warns of.
    getattr(logger, "_wandb_init", {}).pop("anonymous", None)
    return logger


def tensorboard_logger(run: Path, step: int | None = None) -> Logger:
    """Return a logger that writes to ``RUN/tensorboard``; what is there from ``step`` on is written again.

    Raises:
        UserError: TensorBoard is not installed.
    """
    options: dict[str, Any] = {} if step is None else {"purge_step": step}
    try:
        return TensorBoardLogger(run, name="tensorboard", version="", **options)
    except ModuleNotFoundError:
        raise UserError(
            "--trainer.logger true writes for TensorBoard, which is not installed.\n"
            "Next: pip install 'segtricks[tensorboard]', or leave the option out."
        ) from None


def asked_loggers(logger: Any, run: Path, step: int | None = None) -> list[Logger]:
    """Return the loggers that the option ``trainer.logger`` asks for: ``true`` is TensorBoard, a class is itself.

    Raises:
        UserError: TensorBoard is not installed.
    """
    if logger is True:
        return [tensorboard_logger(run, step)]
    return [logger] if isinstance(logger, Logger) else list(logger or [])


def start_loggers(trainer: Trainer, config: dict[str, Any], run: Path | None = None) -> None:
    """Start W&B and TensorBoard and give them the whole config, once, its absolute paths cut to their last part.

    With ``run``, the folder of a training, W&B's id is kept there.

    Raises:
        UserError: W&B cannot be reached, or no account is set up.
    """
    config = without_folders(config)
    for logger in of_kind(trainer, WandbLogger):
        try:
            logger.experiment.config.update(config, allow_val_change=True)
        except Exception as error:
            raise UserError(
                f"Weights & Biases did not start: {error}.\nNext: wandb login, or pass --wandb offline."
            ) from error
        if run is not None:
            with replacing(run / _ID) as path:
                path.write_text(logger.experiment.id)
    for board in of_kind(trainer, TensorBoardLogger):
        text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
        board.experiment.add_text("config", "".join(f"    {line}\n" for line in text.splitlines()))


def finish_loggers(trainer: Trainer) -> None:
    """Write out what W&B and TensorBoard still hold and close them."""
    for logger in of_kind(trainer, WandbLogger):
        logger.experiment.finish()
    for board in of_kind(trainer, TensorBoardLogger):
        board.experiment.close()


def of_kind(trainer: Trainer, kind: type[Any]) -> list[Any]:
    """Return the trainer's loggers of one kind; on all processes but the first they do nothing."""
    return [logger for logger in trainer.loggers if isinstance(logger, kind)]
