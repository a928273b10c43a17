"""Tables of scores, as text and as JSON."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segtricks.runs import replacing


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return an aligned table: the first columns of text to the left, figures to the right."""
    cells = [list(header), *[list(row) for row in rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    numeric = [all(_is_number(row[i]) for row in rows) for i in range(len(header))]
    lines = [
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        )
        for row in cells
    ]
    return "\n".join(
        [lines[0].rstrip(), "  ".join("-" * width for width in widths), *(line.rstrip() for line in lines[1:])]
    )


def figure(value: float) -> str:
    """Return a score as text: four digits, or a dash for nan."""
    return "-" if value != value else f"{value:.4f}"


def short_title(metric: str) -> str:
    """Return a figure's name as a column's title: ``max_fbeta`` is ``max F``, ``e_measure_adaptive`` is ``e adp``."""
    short = {"fbeta": "F", "measure": "", "adaptive": "adp", "weighted": "w"}
    return " ".join(filter(None, (short.get(part, part) for part in metric.split("_"))))


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write ``content`` to ``path`` in one step; nan becomes null."""
    clean = json.loads(json.dumps(content, default=str), parse_constant=lambda name: None)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(clean, indent=2, default=str) + "\n")


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).replace(",", "").isdigit() or text == "-"
