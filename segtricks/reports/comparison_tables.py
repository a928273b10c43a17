"""A comparison as Markdown and as CSV."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segtricks.reports.tables import figure
from segtricks.runs import replacing
from segtricks.scoring.compare import Comparison, Group, differing_options, short_names
from segtricks.scoring.results import Result


def markdown(comparison: Comparison, differences: bool = True, notes: Sequence[str] = ()) -> str:
    """Return a table for each group, and the notes.

    Args:
        comparison: what to show.
        differences: add a column with the difference to the baseline row beside each metric.
        notes: sentences to stand below the comparison's own.
    """
    parts = []
    for group in comparison.groups:
        rows = [_cells(comparison, group, result, differences) for result in group.results]
        header = _header(comparison, group, differences)
        used = [i for i in range(len(header)) if any(row[i] for row in rows)]
        lines = ["| " + " | ".join(_plain(line[i]) for i in used) + " |" for line in (header, *rows)]
        first = len(group.differing) + 2
        lines.insert(1, "|" + "|".join(" ---: " if i >= first else " --- " for i in used) + "|")
        parts.append("\n".join([f"### {_plain(group.title)}\n", *lines]))
        if differences and group.baseline is not None and len(group.results) > 1:
            parts.append(f"Δ: difference to {_plain(group.label(group.baseline))}.")
    return "\n\n".join([*parts, *map(_plain, (*comparison.notes(), *notes))]) + "\n"


def write_table(path: Path, comparison: Comparison) -> None:
    """Write every group into one CSV, a line for each row.

    Each metric has its value, its standard deviation over seeds, its difference to the baseline row and the published
    number in columns of their own.
    """
    options = differing_options([result for group in comparison.groups for result in group.results])
    rows = []
    for group in comparison.groups:
        for result in group.results:
            row: dict[str, Any] = {"run": result.run, "dataset": group.dataset, "protocol": group.protocol}
            row |= {name: result.options.get(name, "") for name in options}
            row |= {"row": result.row, "images": "" if result.images is None else result.images, "seeds": result.seeds}
            for metric in comparison.metrics:
                values = {
                    metric: result.metrics.get(metric),
                    f"{metric}_std": result.spread.get(metric),
                    f"{metric}_difference": group.difference(result, metric),
                    f"{metric}_published": result.published(metric),
                }
                row |= {name: "" if value is None else round(value, 6) for name, value in values.items()}
            rows.append(row)
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _header(comparison: Comparison, group: Group, differences: bool) -> list[str]:
    figures = [
        text for name in comparison.metrics for text in (name, f"Δ {name}" if differences else "", f"published {name}")
    ]
    return ["run", *(short for _, short in short_names(group.differing)), "row", "images", *figures]


def _cells(comparison: Comparison, group: Group, result: Result, differences: bool) -> list[str]:
    cells = [result.run, *(result.options.get(name, "") for name in group.differing), result.row]
    cells.append("" if result.images is None else f"{result.images:,}")
    for name in comparison.metrics:
        difference = group.difference(result, name) if differences else None
        published = result.published(name)
        cells.append(_figure(result, name))
        cells.append("" if difference is None else f"{difference:+.4f}")
        cells.append("" if published is None else f"{published:.3f}")
    return cells


def _figure(result: Result, name: str) -> str:
    if name not in result.metrics:
        return ""
    text = figure(result.metrics[name])
    if name in result.spread:
        text += f" ± {result.spread[name]:.4f}"
    return f"{text} (n = {result.seeds})" if result.seeds > 1 else text


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|").replace("<", "&lt;")
