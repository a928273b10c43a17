"""Score a model on its test sets: what ``test`` does, and ``fit`` before and after training."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from segtricks.commands.lightning_cli import SegtricksCLI
from segtricks.methods.base import PLAIN, REFINED, Score
from segtricks.reports.callbacks import file_name
from segtricks.reports.loggers import log_scores
from segtricks.reports.per_image import image_rows, write_csv
from segtricks.reports.tables import figure, text_table, write_json

_HEADER = ("test set", "", "mask", "acc", "iou", "max F", "images")


@dataclass
class Stage:
    """Scores of one pass over the test sets; ``label`` is ``before``, ``after`` or empty."""

    label: str
    scores: list[Score]


def score(cli: SegtricksCLI, run: Path | None, label: str = "", checkpoint: Path | None = None) -> Stage:
    """Test the model, with the weights of ``checkpoint`` if given, and write its results under ``RUN/test``."""
    trainer, model = cli.trainer, cli.model
    ckpt = None if checkpoint is None else str(checkpoint)
    trainer.test(model, datamodule=cli.datamodule, ckpt_path=ckpt, verbose=False, weights_only=True)
    scores: list[Score] = model.scores
    if run is not None and trainer.is_global_zero:
        for name in dict.fromkeys(entry.dataset for entry in scores):
            suffix = "-before" if label == "before" else ""
            if model.protocol.name != "fullres":
                suffix = f"-{file_name(model.protocol.name)}{suffix}"
            rows = [entry for entry in scores if entry.dataset == name]
            stem = run / "test" / f"{file_name(name)}{suffix}"
            write_json(stem.with_name(f"{stem.name}.json"), result(cli, rows, checkpoint))
            each = [{"mask": entry.row} | image for entry in rows for image in image_rows(entry.per_image, {})]
            write_csv(stem.with_name(f"{stem.name}-per-image.csv"), each)
    flat = {f"test/{label}{entry.dataset}/{entry.row}/{key}": v for entry in scores for key, v in entry.metrics.items()}
    log_scores(trainer, flat, _HEADER, _rows([Stage(label, scores)]))
    return Stage(label, scores)


def result(cli: SegtricksCLI, rows: Sequence[Score], checkpoint: Path | None) -> dict[str, object]:
    """Return the content of a result file: the protocol, the counts, and the figures of every row.

    ``metrics`` are those of the mask that the model predicts, filtered where its guided filter is on.
    """
    model = cli.model
    main = REFINED if model.refine_predictions else PLAIN
    return {
        "dataset": rows[0].dataset,
        "protocol": model.protocol.as_dict() | {"refine_at": model.refine_at},
        "checkpoint": None if checkpoint is None else str(checkpoint),
        "images": rows[0].images,
        "empty": {entry.row: entry.empty for entry in rows},
        "skipped": [{"path": path, "reason": reason} for path, reason in rows[0].skipped],
        "metrics": next(entry.metrics for entry in rows if entry.row == main),
        "rows": {entry.row: entry.metrics for entry in rows},
        "size_bins": {entry.row: entry.size_bins for entry in rows},
    }


def print_scores(stages: Sequence[Stage]) -> None:
    """Print one table of all stages."""
    rows = _rows(stages)
    if rows:
        print("\n" + text_table(_HEADER, rows) + "\n")
    skipped = {path: reason for stage in stages for entry in stage.scores for path, reason in entry.skipped}
    for path, reason in skipped.items():
        print(f"skipped {path}: {reason}")


def _rows(stages: Sequence[Stage]) -> list[list[str]]:
    rows = []
    for stage in stages:
        for entry in stage.scores:
            if stage.label == "before" and entry.row != PLAIN:
                continue
            figures = [figure(entry.metrics[key]) for key in ("acc", "iou", "max_fbeta")]
            rows.append([entry.dataset, stage.label, entry.row, *figures, f"{entry.images:,}"])
    return rows
