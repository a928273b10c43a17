"""Every figure of the project, drawn by matplotlib: panels, curves, IoU by object size, best and worst, comparisons."""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from torch import Tensor

from segtricks.metrics import SaliencySums
from segtricks.metrics.measures import MEASURES
from segtricks.runs import replacing

if TYPE_CHECKING:
    from segtricks.scoring.compare import Comparison, Group, Reference  # pandas takes a second

Bins = Sequence[Mapping[str, Any]]
"""IoU by object size, as ``SaliencySums.size_bins`` returns it."""

_RIGHT, _EXTRA, _MISSED = (0.93, 0.93, 0.93), (0.84, 0.37, 0.0), (0.0, 0.45, 0.7)
_BETTER, _WORSE, _NEUTRAL = "#0072b2", "#d55e00", "#808080"
_POINTS = 250
_COMPARED = 4


@dataclass
class Panel:
    """One row of pictures.

    Args:
        title: name of the photograph.
        image: (3, H, W) uint8, or float in [0, 1].
        masks: by column title, (1, H, W) probabilities or binary masks of any size.
    """

    title: str
    image: Tensor
    masks: Mapping[str, Tensor]


@dataclass
class RankedImage:
    """One image of the best and the worst.

    Args:
        name: of the image.
        iou: its IoU.
        pred: (1, 1, H, W) probabilities, as scored.
        truth: (1, 1, H, W) bool.
        photo: (3, H, W) uint8, if there is one.
    """

    name: str
    iou: float
    pred: Tensor
    truth: Tensor
    photo: Tensor | None = None


def panel_figure(panels: Sequence[Panel], height: float = 1.6) -> Figure:
    """Return a figure with one row a panel: the image, then its masks."""
    columns = ["image", *dict.fromkeys(name for panel in panels for name in panel.masks)]
    figure = _figure(height * 1.35 * len(columns), height * len(panels) + 0.3)
    axes = figure.subplots(len(panels), len(columns), squeeze=False)
    for line, panel in zip(axes, panels, strict=True):
        for axis in line:
            axis.set_axis_off()
        line[0].imshow(as_array(panel.image))
        line[0].set_title(_printable(panel.title[-28:]), fontsize=7)
        for axis, column in zip(line[1:], columns[1:], strict=True):
            if column in panel.masks:
                _show_mask(axis, panel.masks[column])
                axis.set_title(column, fontsize=7)
    return figure


def loss_terms(rows: Sequence[Mapping[str, float]]) -> list[str]:
    """Return the loss terms that rows of ``metrics.csv`` hold, the total first."""
    names = {key.split("/", 1)[1] for row in rows for key in row if key.startswith(("train/", "val/"))}
    return sorted(names, key=lambda name: (name != "loss", name))


def curve_figure(rows: Sequence[Mapping[str, float]], terms: Sequence[str] | None = None) -> Figure | None:
    """Return loss terms over steps, a plot each; by default all of them. None where the rows hold none.

    Long curves are means of equally many steps a point.
    """
    terms = loss_terms(rows) if terms is None else terms
    if not terms:
        return None
    columns = min(4, len(terms))
    lines = -(-len(terms) // columns)
    figure = _figure(3.2 * columns, 2.3 * lines)
    axes = figure.subplots(lines, columns, squeeze=False).flatten()
    for axis in axes[len(terms) :]:
        axis.set_axis_off()
    for axis, term in zip(axes, terms, strict=False):
        for key, label, colour in ((f"train/{term}", "training", "C0"), (f"val/{term}", "held out", "C1")):
            points = np.array([(row["step"], row[key]) for row in rows if key in row])
            if len(points):
                pieces = np.array_split(points, min(len(points), _POINTS))
                # A line of one point would not be seen.
                marker = "o" if label == "held out" or len(points) == 1 else ""
                x, y = np.array([piece.mean(0) for piece in pieces]).T
                axis.plot(x, y, color=colour, marker=marker, label=label, linewidth=1.2, markersize=3)
        axis.set_title(term, fontsize=9)
        axis.set_xlabel("step", fontsize=7)
        axis.tick_params(labelsize=7)
        axis.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
        axis.legend(fontsize=7, frameon=False)
        _plain(axis)
    return figure


def bins_figure(sets: Mapping[str, Bins]) -> Figure | None:
    """Return mean IoU by the share of the image that the object covers, above the number of images of each size.

    A line for each set of masks; None where no set has an image with an IoU.
    """
    figure = _figure(5, 4)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    for name, bins in sets.items():
        full = [each for each in bins if each["images"] and each["iou"] is not None]
        if full:
            middle = [50 * (each["from"] + each["to"]) for each in full]
            above.plot(middle, [each["iou"] for each in full], "o-", markersize=4, linewidth=1.5, label=name)
    if not above.lines:
        return None
    for each in next(iter(sets.values())):
        width = 92 * (each["to"] - each["from"])
        below.bar(100 * each["from"], each["images"], width=width, align="edge", color=_NEUTRAL, alpha=0.6)
    above.set(ylim=(0, 1.02), ylabel="mean IoU")
    above.legend(fontsize=8, frameon=False)
    below.set(xlim=(0, 100), xlabel="object size, % of the image", ylabel="images")
    below.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    _plain(above)
    _plain(below)
    return figure


def pr_figure(scores: Mapping[str, SaliencySums]) -> Figure:
    """Return mean precision over mean recall, a line for each set of masks and a dot where F is largest."""
    figure = _figure(5, 4)
    axis = figure.subplots()
    for name, score in scores.items():
        precision, recall = (curve.cpu().numpy() for curve in score.pr_curve())
        best = int(score.f_curve().argmax())
        (line,) = axis.plot(recall, precision, linewidth=1.5, label=name, marker=".", markersize=3)
        axis.plot(recall[best], precision[best], "o", color=line.get_color(), markersize=6)
    axis.set(xlim=(0, 1.01), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
    axis.legend(fontsize=8, title="dot: largest F", title_fontsize=7)
    _plain(axis)
    return figure


def f_figure(scores: Mapping[str, SaliencySums]) -> Figure:
    """Return F over the threshold."""
    figure = _figure(5, 4)
    axis = figure.subplots()
    for name, score in scores.items():
        axis.plot(score.f_curve().cpu().numpy(), linewidth=1.5, label=name)
    axis.set(xlim=(0, 255), ylim=(0, 1.02), xlabel="threshold / 255", ylabel="F")
    axis.legend(fontsize=8)
    _plain(axis)
    return figure


def best_worst_figure(best: Sequence[RankedImage], worst: Sequence[RankedImage]) -> Figure:
    """Return the best images above, the worst below: photograph if there is one, target, prediction, and both."""
    rows = [*(("best", verdict) for verdict in best), *(("worst", verdict) for verdict in worst)]
    titles = ["target", "prediction", "orange: too much, blue: missed"]
    if any(verdict.photo is not None for _, verdict in rows):
        titles.insert(0, "photograph")
    figure = _figure(2.3 * len(titles), 1.75 * len(rows) + 0.4)
    axes = figure.subplots(len(rows), len(titles), squeeze=False)
    for axis, title in zip(axes[0][1:], titles[1:], strict=True):
        axis.set_title(title, fontsize=7)
    for line, (group, verdict) in zip(axes, rows, strict=True):
        for axis in line:
            axis.set_axis_off()
        if verdict.photo is not None:
            line[0].imshow(as_array(verdict.photo))
        _show_mask(line[-3], verdict.truth[0])
        _show_mask(line[-2], verdict.pred[0])
        line[-1].imshow(agreement(verdict.pred, verdict.truth).numpy())
        name = _printable(verdict.name[-24:])
        line[0].set_title(f"{group}: {name}, IoU {verdict.iou:.3f}", fontsize=7, loc="left")
    return figure


def agreement(pred: Tensor, truth: Tensor) -> Tensor:
    """Return (H, W, 3) colours: hits light, false foreground orange, missed foreground blue, background black."""
    found, wanted = (pred[0, 0] > 0.5).cpu(), truth[0, 0].cpu()
    picture = torch.zeros(*found.shape, 3)
    picture[found & wanted] = torch.tensor(_RIGHT)
    picture[found & ~wanted] = torch.tensor(_EXTRA)
    picture[~found & wanted] = torch.tensor(_MISSED)
    return picture


def comparison_figure(comparison: "Comparison") -> Figure | None:
    """Return dots with signed differences: a row of plots for each group, a column for each of the first metrics.

    Each metric is compared with the baseline row and, where there is one, with the published number. Blue is better,
    orange worse; the bars are standard deviations over seeds. None where there is nothing to compare with.
    """
    groups = [group for group in comparison.groups if _is_drawn(comparison, group)]
    if not groups:
        return None
    columns = [pair for pair in _pairs(comparison) if any(_has(group, *pair) for group in groups)]
    heights = [0.85 + 0.27 * len(group.results) for group in groups]
    longest = max(len(name) for group in groups for name in _names(group))
    figure = _figure(0.3 + 0.065 * longest + 2.6 * len(columns), sum(heights))
    parts = figure.subfigures(len(groups), 1, squeeze=False, height_ratios=heights)
    for part, group in zip(parts[:, 0], groups, strict=True):
        part.suptitle(_short(group.title), fontsize=9, x=0.01, ha="left", fontweight="bold")
        # Its own columns first: a group without a metric leaves room at the right, and no empty plot.
        own = [pair for pair in columns if _has(group, *pair)]
        axes = part.subplots(1, len(columns), squeeze=False)[0]
        for axis in axes[len(own) :]:
            axis.set_axis_off()
        for axis, (metric, reference) in zip(axes, own, strict=False):
            _draw_differences(axis, group, metric, reference)
            axis.set_title(f"{metric} - {reference}", fontsize=8)
            labels = _names(group) if axis is axes[0] else [""] * len(group.results)
            axis.set_yticks(range(len(group.results)), labels, fontsize=7)
    return figure


def not_drawn(comparison: "Comparison") -> Iterator[str]:
    """Yield a sentence for each group that :func:`comparison_figure` leaves out, and why."""
    for group in comparison.groups:
        if _is_drawn(comparison, group):
            continue
        if group.baseline is None:
            reason = f"no row is the baseline {comparison.baseline}"
        elif len(group.results) == 1:
            reason = "its only row is the baseline"
        else:
            reason = f"no row shares {', '.join(comparison.metrics[:_COMPARED])} with the baseline"
        yield f"No figure of {group.title}: {reason}, and it has no published number."


def save_figure(figure: Figure, path: Path, dpi: int = 110) -> None:
    """Write a figure as PNG, in one step."""
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=dpi)


def svg(figure: Figure) -> str:
    """Return a figure as SVG that needs no font of its own and reads on white and on black."""
    figure.patch.set_visible(False)
    for axis in figure.axes:
        axis.patch.set_visible(False)
        axis.tick_params(colors=_NEUTRAL)
        axis.spines[:].set_color(_NEUTRAL)
    for text in figure.findobj(Text):
        text.set_color(_NEUTRAL)
    file = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "segtricks"}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def outlined(image: Tensor, boxes: NDArray[Any]) -> Tensor:
    """Draw boxes (n, 4), half-open x0, y0, x1, y1 in pixels, onto a copy of an image (3, H, W) uint8."""
    if not len(boxes):
        return image
    from torchvision.utils import draw_bounding_boxes  # it imports what compiles, and takes seconds

    corners = torch.from_numpy(boxes).round().int()
    corners[:, 2:] = torch.maximum(corners[:, 2:] - 1, corners[:, :2])  # torchvision's end with their last pixel
    width = max(2, round(max(image.shape[-2:]) / 150))
    return draw_bounding_boxes(image, corners, colors=(80, 255, 80), width=width)


def as_array(image: Tensor) -> np.ndarray:
    """Return an image (3, H, W), uint8 or float in [0, 1], as an array (H, W, 3)."""
    image = image.cpu()
    if image.dtype != torch.uint8:
        image = image.float().clamp(0, 1)
    return image.permute(1, 2, 0).numpy()


def _figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), layout="constrained")


def _plain(axis: Axes) -> None:
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)


def _show_mask(axis: Axes, mask: Tensor) -> None:
    axis.imshow(mask[0].float().cpu().numpy(), cmap="gray", vmin=0, vmax=1)


def _pairs(comparison: "Comparison") -> "list[tuple[str, Reference]]":
    """The first metrics, and what each is compared with."""
    from segtricks.scoring.compare import Reference

    references: tuple[Reference, ...] = get_args(Reference)
    return [(metric, reference) for metric in comparison.metrics[:_COMPARED] for reference in references]


def _has(group: "Group", metric: str, reference: "Reference") -> bool:
    return bool(group.differences(metric, reference).notna().any())


def _is_drawn(comparison: "Comparison", group: "Group") -> bool:
    return any(_has(group, *pair) for pair in _pairs(comparison))


def _draw_differences(axis: Axes, group: "Group", metric: str, reference: "Reference") -> None:
    lower_is_better = metric in MEASURES and MEASURES[metric].lower_is_better
    for place, (result, difference) in enumerate(zip(group.results, group.differences(metric, reference), strict=True)):
        if np.isfinite(difference):
            _draw_difference(axis, place, difference, result.spread.get(metric, 0.0), lower_is_better)
        elif result is group.baseline and reference == "baseline":
            _write_next_to(axis, "baseline", 0, place, color="gray")
    axis.axvline(0, color="gray", linewidth=0.8)
    axis.margins(x=0.35)  # room for the text next to the dots
    axis.set_ylim(len(group.results) - 0.4, -0.6)
    axis.grid(axis="x", alpha=0.25)
    axis.locator_params(axis="x", nbins=4)
    axis.tick_params(axis="x", labelsize=6.5, labelbottom=True)
    axis.tick_params(axis="y", length=0)
    axis.spines[["top", "right", "left"]].set_visible(False)


def _draw_difference(axis: Axes, place: int, difference: float, spread: float, lower_is_better: bool) -> None:
    gain = -difference if lower_is_better else difference
    colour = _BETTER if gain > 0 else _WORSE
    if gain == 0:
        colour = "gray"
    axis.plot([0, difference], [place, place], color=colour, linewidth=1.5, alpha=0.5)
    axis.errorbar(difference, place, xerr=spread or None, fmt="o", color=colour, markersize=4, capsize=2)
    end = difference + spread if difference >= 0 else difference - spread
    _write_next_to(axis, f"{difference:+.4f}", end, place, left=difference < 0)


def _write_next_to(axis: Axes, text: str, x: float, y: float, left: bool = False, color: str = "black") -> None:
    offset = (-6 if left else 6, 0)
    side = "right" if left else "left"
    axis.annotate(text, (x, y), offset, textcoords="offset points", fontsize=6.5, va="center", ha=side, color=color)


def _names(group: "Group") -> list[str]:
    return [_short(group.label(result)) for result in group.results]


def _short(text: str) -> str:
    text = _printable(text)
    return text if len(text) <= 60 else f"{text[:38]}…{text[-21:]}"


def _printable(name: str) -> str:
    """A name without what a font cannot draw: bytes that are not UTF-8, and the signs of formulas."""
    return name.encode("utf-8", "backslashreplace").decode().replace("$", r"\$")
