"""What an experiment has measured so far: ``results.csv``, ``table.md`` and ``figure.png``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from segtricks.experiments.grid import Cell
from segtricks.experiments.plan import as_text, option_pairs
from segtricks.experiments.run import Experiment
from segtricks.metrics.measures import title
from segtricks.runs import replacing
from segtricks.scoring.published import SOURCE, is_whole, published
from segtricks.scoring.results import read_results

if TYPE_CHECKING:
    from pandas import DataFrame, Series

_PAPER = ("method", "backbone", "crop", "guided_filter", "bilateral_solver", "selfmask")


def collect(experiment: Experiment) -> list[str]:
    """Write the files from the runs that are finished; return their names."""
    home, scores = experiment.home, measured(experiment)
    with replacing(home / "table.md") as path:
        path.write_text(table(experiment, scores), encoding="utf-8")
    if scores.empty:
        return ["table.md"]
    with replacing(home / "results.csv") as path:
        scores.to_csv(path, index=False, float_format="%.6f", lineterminator="\r\n")
    from segtricks.reports.figures import comparison_figure
    from segtricks.scoring.compare import compare

    shown = [metric for metric in experiment.plan.grid.metrics if metric in scores]
    picture = comparison_figure(compare(read_results(home), shown)) if shown else None
    if picture is None:
        return ["table.md", "results.csv"]
    with replacing(home / "figure.png") as path:
        picture.savefig(path, dpi=130)
    return ["table.md", "results.csv", "figure.png"]


def measured(experiment: Experiment) -> DataFrame:
    """Return what the finished runs have scored: a line for each cell, seed and test set, the cell's number as index.

    Columns are run, labels, seed, dataset, protocol, row, images and the metrics.
    """
    from pandas import DataFrame  # takes a second, and only a table needs it

    plan = experiment.plan
    lines: list[dict[str, Any]] = []
    numbers: list[int] = []
    for number, cell in enumerate(plan.cells):
        labels = {key: as_text(value) for key, value in cell.labels.items()}
        for run in plan.runs.values():
            if run.base != cell.run or not experiment.is_finished(run):
                continue
            seed = "" if run.seed is None else str(run.seed)
            for data, content in experiment.results(run).items():
                line = {"run": run.base, **labels, "seed": seed, "dataset": data, "protocol": run.protocol}
                line |= {"row": cell.row, "images": content["images"]}
                scores = content["rows"][cell.row]
                lines.append(line | {key: float(value) for key, value in scores.items() if value is not None})
                numbers.append(number)
    own = dict.fromkeys(["run", *_labels(experiment), "seed", "dataset", "protocol", "row", "images"])
    metrics = dict.fromkeys(key for line in lines for key in line if key not in own)
    return DataFrame(lines, index=numbers, columns=[*own, *metrics])


def table(experiment: Experiment, scores: DataFrame) -> str:
    """Return the table as Markdown: a row for each cell, and a column for each test set and metric.

    Numbers are means over seeds ± standard deviation (n - 1), with the number of seeds. The published number stands
    next to what was measured on the whole published test set.
    """
    plan, grid = experiment.plan, experiment.plan.grid
    labels = _labels(experiment)
    header = labels.copy()
    limited = any("--data.test_limit" in word for run in plan.runs.values() for word in run.words)
    rows = [[_label(cell.labels.get(label, "")) for label in labels] for cell in plan.cells]
    for data in grid.data:
        own = scores[scores["dataset"] == data]
        whole = not limited and is_whole(data) and all(is_whole(data, images) for images in own["images"])
        for metric in grid.metrics:
            # A set with boxes alone has no IoU, one with masks alone no CorLoc.
            if len(own) and (metric not in own or own[metric].isna().all()):
                continue
            numbers = _shown(own[metric]) if metric in own else {}
            header.append(f"{data} {title(metric)}")
            for number, row in enumerate(rows):
                row.append(numbers.get(number, "-"))
            if not grid.paper:
                continue
            header.append("published")
            for cell, row in zip(plan.cells, rows, strict=True):
                value = published(metric, data, **_paper(experiment, cell)) if whole else None
                row.append("-" if value is None else f"{value:.3f}")
    rule = ["---"] * len(labels) + ["---:"] * (len(header) - len(labels))
    lines = [f"| {' | '.join(row)} |" for row in (header, rule, *rows)]
    return "\n".join([f"# {grid.title}", "", *lines, "", *_notes(experiment)]) + "\n"


def _labels(experiment: Experiment) -> list[str]:
    return list(dict.fromkeys(key for cell in experiment.plan.cells for key in cell.labels))


def _shown(scores: Series[float]) -> dict[int, str]:
    """The mean of each cell as text, with the standard deviation over seeds where there are several."""
    cells = scores.groupby(level=0).agg(["mean", "std", "count"]).dropna(subset="mean")
    return {
        int(cell): f"{mean:.4f}" + (f" ± {std:.4f} ({count:.0f})" if count > 1 else "")
        for cell, mean, std, count in cells.itertuples()
    }


def _paper(experiment: Experiment, cell: Cell) -> dict[str, Any]:
    """The arguments of ``published``: the table, and the labels that it knows."""
    labels = {key: value for key, value in cell.labels.items() if key in _PAPER}
    return {"table": experiment.plan.grid.paper or 0, **labels}


def _notes(experiment: Experiment) -> Iterator[str]:
    plan, grid = experiment.plan, experiment.plan.grid
    done = sum(experiment.is_finished(run) for run in plan.runs.values())
    others = {f"; {run.base}: {run.protocol}" for run in plan.runs.values() if run.protocol != grid.protocol}
    yield f"{done} of {len(plan.runs)} runs finished. Protocol: {grid.protocol}{''.join(sorted(others))}."
    yield "Mean over seeds ± standard deviation (number of seeds)."
    if cut := list(_cut(experiment)):
        yield f"Test sets cut: {', '.join(cut)}."
    if grid.paper:
        yield f"Published: {SOURCE}, measured by the authors' code; shown next to whole published test sets only."


def _cut(experiment: Experiment) -> Iterator[str]:
    """The test sets of which runs scored the first images alone, with how many."""
    limits: dict[str, set[int]] = {data: set() for data in experiment.plan.grid.data}
    for run in experiment.plan.runs.values():
        limit = option_pairs(run.words).get("data.test_limit")
        for data, content in experiment.results(run).items() if experiment.is_finished(run) else ():
            images = content["images"] + sum("of" not in entry for entry in content.get("skipped", ()))
            # Of a smaller set all images were scored.
            if str(images) == limit and not is_whole(data, images):
                limits[data].add(images)
    for data, counts in limits.items():
        if counts:
            yield f"{data} to {' or '.join(map(str, sorted(counts)))} {'image' if counts == {1} else 'images'}"


def _label(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return as_text(value)
