"""After a test: its scores, IoU by object size and a table of images, for Weights & Biases and TensorBoard."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger

from segtricks.reports.evaluation_figures import bins_figure
from segtricks.reports.examples import small_jpeg
from segtricks.reports.media import log_figure, log_images, log_scores, section
from segtricks.reports.names import key, set_keys
from segtricks.reports.pictures import outlined, save_figure
from segtricks.runs import file_name
from segtricks.training.loggers import of_kind

_SIDE = 160


class TestDashboard(Callback):
    """After a test, write ``figures/test-DATASET-iou-by-size.png`` and log what the files under ``test/`` hold.

    Keys begin with ``test/DATASET/``, or ``before/DATASET/`` for a model that has yet to be trained: every figure of
    every row as a scalar, ``iou_by_size``, and, for W&B alone, the table ``images``: name, object size, each row's
    IoU (``corloc`` of a set with boxes), and thumbnails of photograph, masks and target. The table holds every image of
    a set of at most ``limit``, evenly chosen ones of a larger set (of the first process where there are several), so
    that its memory is bounded by some 20 KB times ``limit`` a set; ``test/DATASET-per-image.csv`` holds all of them.

    Args:
        run: the run folder.
        limit: rows of a table of images.
    """

    def __init__(self, run: Path, limit: int = 200) -> None:
        self.figures, self.limit = run / "figures", limit
        self._seen: dict[str, int] = {}
        self._thumbnails: dict[str, dict[str, dict[str, bytes]]] = {}

    def on_test_batch_end(
        self,
        trainer: Trainer,
        module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Draw the thumbnails of the chosen images."""
        if not trainer.is_global_zero or not of_kind(trainer, WandbLogger) or section(trainer, module) == "before":
            return
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        name = data.test_names[dataloader_idx]
        total = -(-data.counts[name] // trainer.world_size)
        kept = self._thumbnails.setdefault(name, {})
        for i, path in enumerate(batch["path"]):
            place = self._seen[name] = self._seen.get(name, 0) + 1
            if not is_chosen(place - 1, total, self.limit):
                continue
            photo = batch["photo"][i]
            if "boxes" in batch:
                photo = outlined(photo, batch["boxes"][i])
            shown = {"photograph": photo, **{row: masks[i] for row, masks in outputs.items()}}
            if "mask" in batch:
                shown["target"] = batch["mask"][i]
            kept[path] = {title: small_jpeg(picture, _SIDE) for title, picture in shown.items()}

    def on_test_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Write the figure and log everything."""
        evaluations: Any = module.evaluations
        scores = [score for each in evaluations for score in each.rows.values()]
        if trainer.is_global_zero and scores:
            self._log(trainer, module, scores)
        self._seen, self._thumbnails = {}, {}

    def _log(self, trainer: Trainer, module: LightningModule, scores: Sequence[Any]) -> None:
        protocol: Any = module.protocol
        first, names = section(trainer, module), trainer.datamodule.test_names  # type: ignore[attr-defined]
        keys = set_keys(names)
        suffix = "" if protocol.name == "fullres" else f"-{file_name(protocol.name)}"
        flat = {
            f"{first}/{keys[entry.dataset]}/{key(entry.row)}/{metric}": value
            for entry in scores
            for metric, value in entry.metrics.items()
        }
        metrics = list(dict.fromkeys(metric for entry in scores for metric in entry.metrics))
        rows = [
            {"test set": Path(entry.dataset).name, "protocol": protocol.name, "mask": entry.row, "images": entry.images}
            | {metric: entry.metrics.get(metric) for metric in metrics}
            for entry in scores
        ]
        log_scores(trainer, first, flat, rows)
        if first == "before":
            return
        for name in names:
            entries = {entry.row: entry for entry in scores if entry.dataset == name}
            bins = {row: entry.size_bins for row, entry in entries.items() if entry.per_image}
            if any(each["images"] for some in bins.values() for each in some):
                figure = bins_figure(bins)
                save_figure(figure, self.figures / f"test-{file_name(name)}{suffix}-iou-by-size.png")
                log_figure(trainer, f"{first}/{keys[name]}/iou_by_size", figure)
            if thumbnails := self._thumbnails.get(name):
                log_images(trainer, f"{first}/{keys[name]}/images", image_table(entries, thumbnails))


def is_chosen(place: int, total: int, limit: int) -> bool:
    """Tell whether the image at ``place`` is one of ``limit`` evenly chosen of ``total``."""
    return total <= limit or (place * limit) // total != ((place - 1) * limit) // total


def image_table(
    scores: Mapping[str, Any], thumbnails: Mapping[str, Mapping[str, bytes]]
) -> list[dict[str, float | str | bytes | None]]:
    """Return rows for :func:`log_images`; of a path its last part is shown.

    Args:
        scores: a ``Score`` by row name.
        thumbnails: JPEG files by title, by the path of the image.
    """
    rows = []
    for path, pictures in thumbnails.items():
        line: dict[str, float | str | bytes | None] = {"image": Path(path).name}
        for row, entry in scores.items():
            if path in entry.per_image:
                iou = entry.per_image[path].iou
                line["size"] = float(entry.per_image[path].size)
                line[f"iou {row}"] = None if iou != iou else iou
            if path in entry.hits:
                line[f"corloc {row}"] = float(entry.hits[path])
        rows.append({**line, **pictures})
    return rows
