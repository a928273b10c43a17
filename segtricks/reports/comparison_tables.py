"""A comparison as Markdown and as CSV."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from segtricks.runs import replacing
from segtricks.scoring.compare import Comparison, Group, short_names


def markdown(comparison: Comparison, differences: bool = True, notes: Sequence[str] = ()) -> str:
    """Return a table for each group, and the notes.

    Args:
        comparison: what to show.
        differences: add a column with the difference to the baseline row after each metric.
        notes: sentences to stand below the comparison's own.
    """
    parts = []
    for group in comparison.groups:
        parts.append(f"### {_plain(group.title)}\n\n{_table(group, comparison.metrics, differences)}")
        if differences and group.baseline is not None and len(group.results) > 1:
            parts.append(f"Δ: difference to {_plain(group.label(group.baseline))}.")
    parts += [_plain(note) for note in (*comparison.notes(), *notes)]
    return "\n\n".join(parts) + "\n"


def write_table(path: Path, comparison: Comparison) -> None:
    """Write every group into one CSV, a line for each row, with the columns of ``Group.table``."""
    with replacing(path) as temporary:
        comparison.table().round(6).to_csv(temporary, index=False, lineterminator="\r\n")


def _table(group: Group, metrics: Sequence[str], differences: bool) -> str:
    table = group.table(metrics, group.differing)
    words = [table["run"], *(table[name].rename(short) for name, short in short_names(group.differing)), table["row"]]
    figures = [_shown(table["images"], "{:,}")]
    for metric in metrics:
        figures.append(_with_spread(table, metric))
        if differences:
            figures.append(_shown(table[f"{metric}_difference"], "{:+.4f}").rename(f"Δ {metric}"))
        figures.append(_shown(table[f"{metric}_published"], "{:.3f}").rename(f"published {metric}"))
    columns = [(column, " --- ") for column in words] + [(column, " ---: ") for column in figures]
    columns = [(column, rule) for column, rule in columns if column.any()]
    header = [str(column.name) for column, _ in columns]
    rows = zip(*(column for column, _ in columns), strict=True)
    lines = ["| " + " | ".join(map(_plain, cells)) + " |" for cells in (header, *rows)]
    lines.insert(1, "|" + "|".join(rule for _, rule in columns) + "|")
    return "\n".join(lines)


def _shown(column: pd.Series, form: str) -> pd.Series:
    """Numbers as text, and nothing where there is none."""
    return column.map(form.format, na_action="ignore").astype(object).fillna("")


def _with_spread(table: pd.DataFrame, metric: str) -> pd.Series:
    seeds = table["seeds"].map(" (n = {})".format).where(table["seeds"] > 1, "")
    spread = _shown(table[f"{metric}_std"], " ± {:.4f}")
    values = _shown(table[metric], "{:.4f}")
    return (values + spread + seeds).where(values != "", "").rename(metric)


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|").replace("<", "&lt;")
