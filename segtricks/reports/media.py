"""What Weights & Biases and TensorBoard are shown: panels of masks, figures, scores, and a table of images."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from segtricks.reports.figures import Panel, as_array
from segtricks.training.loggers import of_kind


def log_panels(trainer: Trainer, key: str, panels: Sequence[Panel], figure: Figure) -> None:
    """Give W&B the images with their masks as layers that can be switched, and TensorBoard the figure of them."""
    images = [as_array(panel.image) for panel in panels]
    titles = [panel.title for panel in panels]
    layers = [{name.replace(" ", "_"): _layer(mask) for name, mask in panel.masks.items()} for panel in panels]
    for logger in of_kind(trainer, WandbLogger):
        logger.log_image(key, images, trainer.global_step, caption=titles, masks=layers)
    _add_figure(trainer, key, figure)


def log_figure(trainer: Trainer, key: str, figure: Figure) -> None:
    """Give W&B and TensorBoard a figure."""
    for logger in of_kind(trainer, WandbLogger):
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=110)
        logger.log_image(key, [Image.open(file)], trainer.global_step)
    _add_figure(trainer, key, figure)


def log_scores(trainer: Trainer, name: str, scores: Mapping[str, float], rows: Sequence[Mapping[str, Any]]) -> None:
    """Give the scores of a test to W&B, as summary values and as the table ``NAME/scores``, and to TensorBoard.

    ``scores`` are by key; ``rows`` of the table all have the same columns.
    """
    for logger in of_kind(trainer, WandbLogger):
        logger.experiment.summary.update(scores)
        data = [list(row.values()) for row in rows]
        logger.log_table(f"{name}/scores", list(rows[0]), data, step=trainer.global_step)
    for board in of_kind(trainer, TensorBoardLogger):
        board.log_metrics(scores, trainer.global_step)


def log_images(trainer: Trainer, key: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Give W&B a table of images, whose cells are numbers, names and JPEG files (bytes)."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    for logger in of_kind(trainer, WandbLogger):
        data = [[_cell(row.get(column)) for column in columns] for row in rows]
        logger.log_table(key, columns, data, step=trainer.global_step)


def _layer(mask: Tensor) -> dict[str, Any]:
    binary = (mask[0] > 0.5).int().cpu().numpy()
    return {"mask_data": binary, "class_labels": {0: "background", 1: "foreground"}}


def _cell(value: Any) -> Any:
    import wandb

    if isinstance(value, bytes):
        return wandb.Image(Image.open(io.BytesIO(value)), file_type="jpg")
    return value


def _add_figure(trainer: Trainer, key: str, figure: Figure) -> None:
    for board in of_kind(trainer, TensorBoardLogger):
        # As scalars of the same step: resumed from its checkpoint, the board drops what was logged after it.
        step = max(0, trainer.global_step - 1) if trainer.state.fn == "fit" else trainer.global_step
        board.experiment.add_figure(key, figure, step, close=False)
