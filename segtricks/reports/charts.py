"""Small charts for a page: SVG that needs no font of its own and reads on white and on black."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

_GRAY = "#808080"
_COLOURS = ("#3b8fd4", "#e07b39", "#3aa37c")
_POINTS = 250


def training_charts(rows: Sequence[Mapping[str, float]]) -> dict[str, str]:
    """Return an SVG for each loss term over steps, the total first, from the rows of ``metrics.csv``.

    Long curves are means of equally many steps a point.
    """
    names = {key.split("/", 1)[1] for row in rows for key in row if key.startswith(("train/", "val/"))}
    charts = {}
    for term in sorted(names, key=lambda name: (name != "loss", name)):
        figure, axis = _axis("step")
        for split, label, colour in (("train", "training", _COLOURS[0]), ("val", "held out", _COLOURS[1])):
            points = [(row["step"], row[f"{split}/{term}"]) for row in rows if f"{split}/{term}" in row]
            if points:
                # A line of one point would not be seen.
                style = "o-" if split == "val" or len(points) == 1 else "-"
                axis.plot(*_thinned(np.array(points)), style, label=label, color=colour, linewidth=1.4, markersize=3)
        axis.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
        _legend(axis)
        charts[term] = _svg(figure)
    return charts


def size_chart(bins: Mapping[str, Sequence[Mapping[str, Any]]]) -> str | None:
    """Return an SVG of mean IoU by the share of the image that the object covers, a line for each row of a result.

    Below it stands the number of images of each size.
    """
    figure = Figure(figsize=(4, 3.4), layout="constrained")
    axis, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    _plain(axis)
    _plain(below, "object size, % of the image")
    for colour, (row, entries) in zip(_COLOURS, bins.items(), strict=False):
        points = [(50 * (e["from"] + e["to"]), e["iou"]) for e in entries if e["images"] and e["iou"] is not None]
        if points:
            axis.plot(*np.array(points).T, "o-", label=row, color=colour, linewidth=1.4, markersize=3.5)
    if not axis.lines:
        return None
    first = next(iter(bins.values()))
    starts, widths = [100 * e["from"] for e in first], [92 * (e["to"] - e["from"]) for e in first]
    below.bar(starts, [e["images"] for e in first], width=widths, align="edge", color=_GRAY, alpha=0.6)
    below.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    axis.set(xlim=(0, 100), ylim=(0, 1.02))
    axis.set_ylabel("mean IoU", fontsize=8, color=_GRAY)
    below.set_ylabel("images", fontsize=8, color=_GRAY)
    _legend(axis)
    return _svg(figure)


def _thinned(points: np.ndarray) -> np.ndarray:
    pieces = np.array_split(points, min(len(points), _POINTS))
    return np.array([piece.mean(0) for piece in pieces]).T


def _axis(label: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(4, 2.5), layout="constrained")
    axis = figure.subplots()
    _plain(axis, label)
    return figure, axis


def _plain(axis: Axes, label: str = "") -> None:
    axis.set_xlabel(label, fontsize=8, color=_GRAY)
    axis.tick_params(labelsize=8, colors=_GRAY)
    axis.grid(alpha=0.25, color=_GRAY)
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color(_GRAY)


def _legend(axis: Axes) -> None:
    if axis.lines:
        axis.legend(fontsize=8, labelcolor=_GRAY, frameon=False)


def _svg(figure: Figure) -> str:
    for axis in figure.axes:
        axis.patch.set_visible(False)
    figure.patch.set_visible(False)
    file = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "segtricks", "font.family": "sans-serif"}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()
