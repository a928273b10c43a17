"""Score a model on its test sets: what ``test`` does, and ``fit`` before and after training."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from segtricks.commands.lightning_cli import SegtricksCLI
from segtricks.methods.base import PLAIN, REFINED, Score
from segtricks.methods.provenance import provenance
from segtricks.reports.names import file_name
from segtricks.reports.tables import figure, text_table, write_json
from segtricks.scoring.per_image import image_rows, write_csv

_COLUMNS = {"acc": "acc", "iou": "iou", "max_fbeta": "max F", "corloc": "CorLoc"}


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
            each = [{"mask": entry.row} | image for entry in rows for image in image_rows(entry.per_image, entry.hits)]
            write_csv(stem.with_name(f"{stem.name}-per-image.csv"), each)
    return Stage(label, scores)


def result(cli: SegtricksCLI, rows: Sequence[Score], checkpoint: Path | None) -> dict[str, object]:
    """Return the content of a result file: the protocol, the counts, and the figures of every row.

    ``metrics`` are those of the mask that the model predicts, filtered where its guided filter is on.
    """
    model = cli.model
    main = REFINED if model.refine_predictions else PLAIN
    content: dict[str, object] = {
        "dataset": rows[0].dataset,
        "protocol": model.protocol.as_dict() | {"refine_at": model.refine_at},
        "source": {"test": cli.saliency_data.test, "root": cli.saliency_data.root, "masks": cli.saliency_data.masks},
        "checkpoint": None if checkpoint is None else str(checkpoint),
        "provenance": provenance(model),
        "images": rows[0].images,
        "skipped": [{"path": path, "reason": reason} for path, reason in rows[0].skipped],
        "metrics": next(entry.metrics for entry in rows if entry.row == main),
        "rows": {entry.row: entry.metrics for entry in rows},
    }
    if rows[0].per_image:
        content["empty"] = {entry.row: entry.empty for entry in rows}
        content["size_bins"] = {entry.row: entry.size_bins for entry in rows}
    if rows[0].hits:
        hard = cli.saliency_data.hard
        content["corloc"] = {"hard": hard, "hits": {entry.row: sum(entry.hits.values()) for entry in rows}}
    return content


def print_scores(stages: Sequence[Stage]) -> None:
    """Print one table of all stages."""
    header, rows = _table(stages)
    if rows:
        print("\n" + text_table(header, rows) + "\n")
    skipped = {path: reason for stage in stages for entry in stage.scores for path, reason in entry.skipped}
    for path, reason in skipped.items():
        print(f"skipped {path}: {reason}")


def _table(stages: Sequence[Stage]) -> tuple[list[str], list[list[str]]]:
    """Header and rows, with the figures that any test set has."""
    known = {key for stage in stages for entry in stage.scores for key in entry.metrics}
    keys = [key for key in _COLUMNS if key in known]
    rows = []
    for stage in stages:
        for entry in stage.scores:
            if stage.label == "before" and entry.row != PLAIN:
                continue
            figures = [figure(entry.metrics.get(key, float("nan"))) for key in keys]
            rows.append([entry.dataset, stage.label, entry.row, *figures, f"{entry.images:,}"])
    header = ["test set", "", "mask", *(_COLUMNS[key] for key in keys), "images"]
    if not any(stage.label for stage in stages):
        header, rows = [header[0], *header[2:]], [[row[0], *row[2:]] for row in rows]
    return header, rows
