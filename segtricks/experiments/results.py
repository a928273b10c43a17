"""What an experiment has measured so far: ``results.csv``, ``table.md`` and ``figure.png``."""

import csv
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from segtricks.experiments.plan import Cell
from segtricks.experiments.state import Experiment
from segtricks.experiments.words import as_text, option_pairs
from segtricks.metrics.measures import title
from segtricks.reports.tables import figure
from segtricks.runs import replacing
from segtricks.scoring.compare import averaged, compare
from segtricks.scoring.published import SOURCE, is_whole, published
from segtricks.scoring.results import Result

_PAPER = ("method", "backbone", "crop", "guided_filter", "bilateral_solver", "selfmask")


def collect(experiment: Experiment) -> list[str]:
    """Write the files from the runs that are finished; return their names."""
    measured = list(_measured(experiment))
    results = [result for _, result in measured]
    home = experiment.home
    with replacing(home / "table.md") as path:
        path.write_text(table(experiment), encoding="utf-8")
    if not results:
        return ["table.md"]
    _write_csv(experiment, measured)
    from segtricks.reports.figures import comparison_figure

    # In the picture a row is called by its labels alone.
    named = [
        replace(result, run=_name(cell), options={}, row="")
        for cell in experiment.plan.cells
        for result in averaged(_results_of(experiment, cell))
    ]
    shown = [metric for metric in experiment.plan.grid.metrics if any(metric in r.metrics for r in results)]
    picture = comparison_figure(compare(named, shown)) if shown else None
    if picture is None:
        return ["table.md", "results.csv"]
    with replacing(home / "figure.png") as path:
        picture.savefig(path, dpi=130)
    return ["table.md", "results.csv", "figure.png"]


def table(experiment: Experiment) -> str:
    """Return the table as Markdown: a row for each cell, and a column for each test set and figure.

    Figures are means over seeds ± standard deviation (n - 1), with the number of seeds. The published number stands
    beside what was measured on the whole published test set.
    """
    plan, grid = experiment.plan, experiment.plan.grid
    rows = {id(cell): {r.dataset: r for r in averaged(_results_of(experiment, cell))} for cell in plan.cells}
    labels = list(dict.fromkeys(key for cell in plan.cells for key in cell.labels))
    columns = [(data, metric) for data in grid.data for metric in grid.metrics]
    scored = {data: [row[data].metrics for row in rows.values() if data in row] for data in grid.data}
    # A set with boxes alone has no IoU, one with masks alone no CorLoc.
    columns = [(data, key) for data, key in columns if not scored[data] or any(key in m for m in scored[data])]
    limited = any("--data.test_limit" in word for run in plan.runs.values() for word in run.words)
    whole = {
        data: is_whole(data) and not limited and all(is_whole(data, r[data].images) for r in rows.values() if data in r)
        for data in grid.data
    }
    lines: list[list[str]] = [[*labels], [" --- "] * len(labels)]
    for data, metric in columns:
        lines[0] += [f"{data} {title(metric)}", *(["published"] if grid.paper else [])]
        lines[1] += [" ---: ", *([" ---: "] if grid.paper else [])]
    for cell in plan.cells:
        line = [_words(cell.labels.get(label, "")) for label in labels]
        for data, metric in columns:
            line.append(_figure(rows[id(cell)].get(data), metric))
            if grid.paper:
                number = published(metric, data, **_paper(experiment, cell)) if whole[data] else None
                line.append("-" if number is None else f"{number:.3f}")
        lines.append(line)
    text = "\n".join("|" + "|".join(c if "---" in c else f" {c} " for c in line) + "|" for line in lines)
    return f"# {grid.title}\n\n{text}\n\n" + "\n".join(_notes(experiment)) + "\n"


def _notes(experiment: Experiment) -> Iterator[str]:
    plan, grid = experiment.plan, experiment.plan.grid
    done = sum(experiment.is_finished(run) for run in plan.runs.values())
    others = {f"; {run.base}: {run.protocol}" for run in plan.runs.values() if run.protocol != grid.protocol}
    yield f"{done} of {len(plan.runs)} runs finished. Protocol: {grid.protocol}{''.join(sorted(others))}."
    yield "Mean over seeds ± standard deviation (number of seeds)."
    if cut := _cut(experiment):
        yield f"Test sets cut: {', '.join(cut)}."
    if grid.paper:
        yield f"Published: {SOURCE}, measured by the authors' code; shown beside whole published test sets only."


def _cut(experiment: Experiment) -> list[str]:
    """The test sets of which runs scored the first images alone, with how many."""
    limits: dict[str, set[int]] = {}
    for run in experiment.plan.runs.values():
        limit = option_pairs(run.words).get("data.test_limit", "")
        if not limit.isdecimal() or not experiment.is_finished(run):
            continue
        for data, content in experiment.results(run).items():
            images = content["images"] + len(content.get("skipped", ()))
            # Of a smaller set all images were scored.
            if images == int(limit) and not is_whole(data, images):
                limits.setdefault(data, set()).add(int(limit))
    order = [data for data in experiment.plan.grid.data if data in limits]
    return [
        f"{data} to {' or '.join(map(str, sorted(limits[data])))} {'image' if limits[data] == {1} else 'images'}"
        for data in order
    ]


def _measured(experiment: Experiment) -> Iterator[tuple[str, Result]]:
    """The base name of a run, and its result in a cell."""
    for cell in experiment.plan.cells:
        for result in _results_of(experiment, cell):
            yield cell.run or "", result


def _results_of(experiment: Experiment, cell: Cell) -> list[Result]:
    results = []
    for run in experiment.plan.runs.values():
        if run.base != cell.run or not experiment.is_finished(run):
            continue
        labels = {key: as_text(value) for key, value in cell.labels.items()}
        for data, content in experiment.results(run).items():
            metrics = content["rows"][cell.row]
            results.append(
                Result(
                    run=experiment.name,
                    dataset=data,
                    protocol=run.protocol,
                    row=cell.row,
                    metrics={key: float(value) for key, value in metrics.items() if value is not None},
                    images=content["images"],
                    options=labels if run.seed is None else {**labels, "seed": str(run.seed)},
                    paper=_paper(experiment, cell),
                )
            )
    return results


def _paper(experiment: Experiment, cell: Cell) -> dict[str, Any]:
    """The arguments of ``published``: the table, and the labels that it knows."""
    labels = {key: value for key, value in cell.labels.items() if key in _PAPER}
    return {"table": experiment.plan.grid.paper or 0, **labels}


def _write_csv(experiment: Experiment, measured: list[tuple[str, Result]]) -> None:
    labels = list(dict.fromkeys(key for cell in experiment.plan.cells for key in cell.labels))
    metrics = list(dict.fromkeys(key for _, result in measured for key in result.metrics))
    own = ["run", *labels, "seed", "dataset", "protocol", "row", "images"]
    with (
        replacing(experiment.home / "results.csv") as path,
        path.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, [*own, *metrics], restval="")
        writer.writeheader()
        for base, result in measured:
            row = {"run": base, **result.options, "dataset": result.dataset, "protocol": result.protocol}
            row |= {"row": result.row, "images": str(result.images)}
            writer.writerow(row | {key: f"{value:.6f}" for key, value in result.metrics.items()})


def _figure(result: Result | None, metric: str) -> str:
    if result is None or metric not in result.metrics:
        return "-"
    text = figure(result.metrics[metric])
    return f"{text} ± {result.spread[metric]:.4f} ({result.seeds})" if metric in result.spread else text


def _name(cell: Cell) -> str:
    words = [
        (key if value else f"no {key}").replace("_", " ") if isinstance(value, bool) else as_text(value)
        for key, value in cell.labels.items()
    ]
    return ", ".join(words)


def _words(value: Any) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else as_text(value)
