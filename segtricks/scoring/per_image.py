"""One row per image: every figure, to sort, plot and compare methods image by image."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segtricks.metrics.saliency import VALUES, ImageScores
from segtricks.runs import replacing


def image_rows(images: Mapping[str, ImageScores], hits: Mapping[str, bool]) -> list[dict[str, Any]]:
    """Return name, figures, ``size`` (the target's share of the image) and ``corloc`` (0 or 1) of every image.

    ``max_fbeta`` is the image's own maximum, an IoU that does not exist is empty, and E is cut at 1 as in the result.
    """
    rows = []
    for name in dict.fromkeys([*images, *hits]):
        row: dict[str, Any] = {"image": name}
        if name in images:
            figures = zip(VALUES, images[name].values.tolist(), strict=True)
            row |= {key: "" if value != value else min(value, 1.0) for key, value in figures}
            row["size"] = float(images[name].size)
        if name in hits:
            row["corloc"] = int(hits[name])
        rows.append(row)
    return rows


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows as CSV in one step; the columns are the keys of all rows. Names need not be UTF-8."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with (
        replacing(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
