"""Score a model on its test sets: what ``test`` does, and ``fit`` before and after training."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segtricks.commands.lightning_cli import SegtricksCLI
from segtricks.data.datamodule import RunData, whole_size
from segtricks.methods.base import PLAIN
from segtricks.methods.provenance import provenance
from segtricks.metrics.measures import HEADLINES, title
from segtricks.reports.tables import figure, text_table
from segtricks.scoring.evaluation import Evaluation, write_result


@dataclass
class Stage:
    """What one pass over the test sets measured; ``label`` is ``before``, ``after`` or empty."""

    label: str
    evaluations: list[Evaluation]


def score(cli: SegtricksCLI, run: Path | None, label: str = "", checkpoint: Path | None = None) -> Stage:
    """Test the model, with the weights of ``checkpoint`` if given, and write its results under ``RUN/test``."""
    trainer, model = cli.trainer, cli.model
    ckpt = None if checkpoint is None else str(checkpoint)
    trainer.test(model, datamodule=cli.datamodule, ckpt_path=ckpt, verbose=False, weights_only=True)
    stage = Stage(label, model.evaluations)
    if run is not None and trainer.is_global_zero:
        for evaluation in stage.evaluations:
            write_result(run, evaluation, _content(cli, evaluation, checkpoint), before=label == "before")
    return stage


def _content(cli: SegtricksCLI, evaluation: Evaluation, checkpoint: Path | None) -> dict[str, Any]:
    model, data = cli.model, cli.run_data
    # Label maps are scored without a refined row.
    main = model.predicted_row if model.predicted_row in evaluation.rows else PLAIN
    content = evaluation.as_dict(
        main,
        model.refine_at,
        source=_source(data),
        checkpoint=None if checkpoint is None else str(checkpoint),
        provenance=provenance(model),
    )
    hits = {row: sum(score.hits.values()) for row, score in evaluation.rows.items() if score.hits}
    content |= getattr(data, "about", lambda name: {})(evaluation.dataset)
    if reading := getattr(model, "reading", {}):
        content["reading"] = content.get("reading", {}) | reading
    return content | ({"corloc": {"hard": data.hard, "hits": hits}} if hits else {})


def _source(data: RunData) -> dict[str, Any]:
    """What was tested, and the short side in pixels at which it was seen, where neither protocol nor model has one."""
    named = {"test": data.test, "root": data.root, "masks": data.masks, "size": whole_size(data)}
    return named | getattr(data, "choices", {})


def print_scores(stages: Sequence[Stage]) -> None:
    """Print one table of all stages."""
    for evaluation in (evaluation for stage in stages if stage.label != "before" for evaluation in stage.evaluations):
        if said := evaluation.one_sided():
            print(f"segtricks: warning: {evaluation.dataset}: {said} The figures say nothing; look at some of them.")
    header, rows = _table(stages)
    if rows:
        print("\n" + text_table(header, rows) + "\n")
    evaluations = [evaluation for stage in stages for evaluation in stage.evaluations]
    skipped = {path: reason for evaluation in evaluations for path, reason in evaluation.skipped}
    for path, reason in skipped.items():
        print(f"skipped {path}: {reason}")


def _table(stages: Sequence[Stage]) -> tuple[list[str], list[list[str]]]:
    """Header and rows, with the headline measures that any test set has; before the training, of the plain masks."""
    scores = [
        (stage.label, score)
        for stage in stages
        for evaluation in stage.evaluations
        for score in evaluation.rows.values()
        if stage.label != "before" or score.row == PLAIN
    ]
    keys = [key for key in HEADLINES if any(key in score.metrics for _, score in scores)]
    labelled = any(stage.label for stage in stages)
    header = ["test set", *([""] if labelled else []), "mask", *map(title, keys), "images"]
    rows = []
    for label, score in scores:
        figures = [figure(score.metrics.get(key, float("nan"))) for key in keys]
        rows.append([score.dataset, *([label] if labelled else []), score.row, *figures, f"{score.images:,}"])
    return header, rows
