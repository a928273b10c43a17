"""Pictures of an evaluation: curves over thresholds, IoU by object size, the best and the worst masks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import torch
from torch import Tensor

from segtricks.metrics import SaliencyScores
from segtricks.reports.pictures import as_array

matplotlib.use("Agg")

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

_RIGHT, _EXTRA, _MISSED = (0.93, 0.93, 0.93), (0.84, 0.37, 0.0), (0.0, 0.45, 0.7)


@dataclass
class Verdict:
    """One image for the best-and-worst picture.

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


def pr_figure(scores: Mapping[str, SaliencyScores]) -> Figure:
    """Return mean precision over mean recall, a line for each set of masks and a dot where F is largest."""
    figure, axis = _axis("recall", "precision")
    for name, score in scores.items():
        precision, recall = (curve.cpu().numpy() for curve in score.pr_curve())
        best = int(score.f_curve().argmax())
        (line,) = axis.plot(recall, precision, linewidth=1.5, label=name, marker=".", markersize=3)
        axis.plot(recall[best], precision[best], "o", color=line.get_color(), markersize=6)
    axis.set(xlim=(0, 1.01), ylim=(0, 1.02))
    axis.legend(fontsize=8, title="dot: largest F", title_fontsize=7)
    return figure


def f_figure(scores: Mapping[str, SaliencyScores]) -> Figure:
    """Return F over the threshold."""
    figure, axis = _axis("threshold / 255", "F")
    for name, score in scores.items():
        axis.plot(score.f_curve().cpu().numpy(), linewidth=1.5, label=name)
    axis.set(xlim=(0, 255), ylim=(0, 1.02))
    axis.legend(fontsize=8)
    return figure


def size_figure(scores: Mapping[str, SaliencyScores]) -> Figure:
    """Return :func:`bins_figure` of whole sets of masks."""
    return bins_figure({name: score.size_bins() for name, score in scores.items()})


def bins_figure(sets: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """Return mean IoU by the share of the image that the object covers, above the number of images in each bin.

    Args:
        sets: by name, the bins of ``SaliencyScores.size_bins``.
    """
    figure = Figure(figsize=(6, 4.6), layout="constrained")
    axis, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    for name, bins in sets.items():
        full = [entry for entry in bins if entry["images"]]
        middle = [50 * (entry["from"] + entry["to"]) for entry in full]
        axis.plot(middle, [entry["iou"] for entry in full], "o-", markersize=4, linewidth=1.5, label=name)
    first = next(iter(sets.values()))
    below.bar([100 * entry["from"] for entry in first], [entry["images"] for entry in first], width=4.6, align="edge")
    axis.set(ylim=(0, 1.02), ylabel="mean IoU")
    below.set(xlim=(0, 100), xlabel="object size, % of the image", ylabel="images")
    below.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axis.legend(fontsize=8)
    for each in (axis, below):
        _plain(each)
    return figure


def verdict_figure(best: Sequence[Verdict], worst: Sequence[Verdict]) -> Figure:
    """Return the best images above, the worst below: photograph if there is one, target, prediction, and both."""
    rows = [*(("best", verdict) for verdict in best), *(("worst", verdict) for verdict in worst)]
    photos = any(verdict.photo is not None for _, verdict in rows)
    columns = 3 + photos
    figure = Figure(figsize=(2.3 * columns, 1.75 * len(rows) + 0.4), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for line, (group, verdict) in zip(axes, rows, strict=True):
        for axis in line:
            axis.set_axis_off()
        if verdict.photo is not None:
            line[0].imshow(as_array(verdict.photo))
        for axis, mask in zip(line[photos:], (verdict.truth.float(), verdict.pred.float()), strict=False):
            axis.imshow(mask[0, 0].cpu().numpy(), cmap="gray", vmin=0, vmax=1)
        line[-1].imshow(agreement(verdict.pred, verdict.truth).numpy())
        line[0].set_title(f"{group}: {verdict.name[-24:]}, IoU {verdict.iou:.3f}", fontsize=7, loc="left")
    for axis, title in zip(axes[0][1:], [*(["target"] if photos else []), "prediction"], strict=False):
        axis.set_title(title, fontsize=7)
    axes[0][-1].set_title("orange: too much, blue: missed", fontsize=7)
    return figure


def agreement(pred: Tensor, truth: Tensor) -> Tensor:
    """Return (H, W, 3) colours: hits light, false foreground orange, missed foreground blue, background black."""
    found, wanted = (pred[0, 0] > 0.5).cpu(), truth[0, 0].cpu()
    picture = torch.zeros(*found.shape, 3)
    for where, colour in ((found & wanted, _RIGHT), (found & ~wanted, _EXTRA), (~found & wanted, _MISSED)):
        picture[where] = torch.tensor(colour)
    return picture


def _axis(x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5, 4), layout="constrained")
    axis = figure.subplots()
    axis.set(xlabel=x, ylabel=y)
    _plain(axis)
    return figure, axis


def _plain(axis: Axes) -> None:
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
