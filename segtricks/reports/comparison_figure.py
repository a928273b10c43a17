"""A comparison as a picture: each row's difference to the baseline row, and to the published number."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite
from typing import Literal

import matplotlib

from segtricks.scoring.compare import Comparison, Group
from segtricks.scoring.results import Result

matplotlib.use("Agg")

from matplotlib.axes import Axes
from matplotlib.figure import Figure

_BETTER, _WORSE = "#0072b2", "#d55e00"
_LOWER_IS_BETTER = ("mae",)
_MOST = 4


@dataclass
class Column:
    """One column of plots: differences of a ``metric`` to the ``baseline`` row or to the ``published`` number."""

    metric: str
    to: Literal["baseline", "published"]

    def value(self, group: Group, result: Result) -> float | None:
        """Return the difference; None where there is nothing to compare with."""
        if self.to == "baseline":
            return group.difference(result, self.metric)
        number = result.published(self.metric)
        return None if number is None or self.metric not in result.metrics else result.metrics[self.metric] - number


def comparison_figure(comparison: Comparison) -> Figure | None:
    """Return dots with signed differences: a row of plots for each group, a column for each of the first metrics.

    Blue is better than what it is held against, orange worse; the bars are standard deviations over seeds. None where
    there is nothing to hold against anything.
    """
    columns = [c for c in _columns(comparison) if any(_fills(c, group) for group in comparison.groups)]
    groups = [group for group in comparison.groups if any(_fills(c, group) for c in columns)]
    if not columns or not groups:
        return None
    heights = [0.85 + 0.27 * len(group.results) for group in groups]
    names = [[_short(group.label(result)) for result in group.results] for group in groups]
    margin = 0.3 + 0.065 * max(len(name) for texts in names for name in texts)
    figure = Figure(figsize=(margin + 2.6 * len(columns), sum(heights)), layout="constrained")
    parts = figure.subfigures(len(groups), 1, squeeze=False, height_ratios=heights)
    for part, group, texts in zip(parts[:, 0], groups, names, strict=True):
        part.suptitle(_short(group.title), fontsize=9, x=0.01, ha="left", fontweight="bold")
        # Its own columns first: a group without a metric leaves room at the right, and no empty plot.
        own = [c for c in columns if _fills(c, group)]
        line = part.subplots(1, len(columns), squeeze=False)[0]
        for axis in line[len(own) :]:
            axis.set_axis_off()
        for axis, column in zip(line, own, strict=False):
            _draw(axis, group, column)
            axis.set_title(f"{column.metric} - {column.to}", fontsize=8)
            axis.set_yticks(range(len(texts)), texts if axis is line[0] else [""] * len(texts), fontsize=7)
    return figure


def not_drawn(comparison: Comparison) -> Iterator[str]:
    """Yield a sentence for each group that :func:`comparison_figure` leaves out, and why."""
    for group in comparison.groups:
        if any(_fills(column, group) for column in _columns(comparison)):
            continue
        if group.baseline is None:
            reason = f"no row is the baseline {comparison.baseline}"
        elif len(group.results) == 1:
            reason = "its only row is the baseline"
        else:
            reason = f"no row shares {', '.join(comparison.metrics[:_MOST])} with the baseline"
        yield f"No figure of {group.title}: {reason}, and it has no published number."


def _columns(comparison: Comparison) -> list[Column]:
    return [
        column
        for metric in comparison.metrics[:_MOST]
        for column in (Column(metric, "baseline"), Column(metric, "published"))
    ]


def _fills(column: Column, group: Group) -> bool:
    return any(column.value(group, result) is not None for result in group.results)


def _draw(axis: Axes, group: Group, column: Column) -> None:
    sign = -1 if column.metric in _LOWER_IS_BETTER else 1
    for place, result in enumerate(group.results):
        difference = column.value(group, result)
        if difference is None or not isfinite(difference):
            if result is group.baseline and column.to == "baseline":
                axis.annotate(
                    "baseline",
                    (0, place),
                    (6, 0),
                    textcoords="offset points",
                    fontsize=6.5,
                    color="gray",
                    va="center",
                )
            continue
        colour = "gray" if difference == 0 else _BETTER if sign * difference > 0 else _WORSE
        axis.plot([0, difference], [place, place], color=colour, linewidth=1.5, alpha=0.5)
        axis.errorbar(
            difference, place, xerr=result.spread.get(column.metric), fmt="o", color=colour, markersize=4, capsize=2
        )
        side = 1 if difference >= 0 else -1
        offset = (side * 6, 0)
        axis.annotate(
            f"{difference:+.4f}",
            (difference + side * result.spread.get(column.metric, 0.0), place),
            offset,
            textcoords="offset points",
            fontsize=6.5,
            va="center",
            ha="left" if side > 0 else "right",
        )
    axis.axvline(0, color="gray", linewidth=0.8)
    axis.margins(x=0.35)  # room for the figures beside the dots
    axis.set_ylim(len(group.results) - 0.4, -0.6)
    axis.grid(axis="x", alpha=0.25)
    axis.locator_params(axis="x", nbins=4)
    axis.tick_params(axis="x", labelsize=6.5, labelbottom=True)
    axis.tick_params(axis="y", length=0)
    axis.spines[["top", "right", "left"]].set_visible(False)


def _short(text: str) -> str:
    text = text.encode("utf-8", "backslashreplace").decode().replace("$", r"\$")
    return text if len(text) <= 60 else f"{text[:38]}…{text[-21:]}"
