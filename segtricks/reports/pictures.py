"""Pictures: panels of image, masks and target, overlays, and loss curves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segtricks.runs import replacing

matplotlib.use("Agg")

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator


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


def panel_figure(panels: Sequence[Panel], height: float = 1.6) -> Figure:
    """Return a figure with one row a panel: the image, then its masks."""
    columns = ["image", *dict.fromkeys(name for panel in panels for name in panel.masks)]
    figure = Figure(figsize=(height * 1.35 * len(columns), height * len(panels) + 0.3), layout="constrained")
    axes = figure.subplots(len(panels), len(columns), squeeze=False)
    for row, panel in zip(axes, panels, strict=True):
        for axis, column in zip(row, columns, strict=True):
            axis.set_axis_off()
            if column == "image":
                axis.imshow(as_array(panel.image))
                axis.set_title(_printable(panel.title[-28:]), fontsize=7)
            elif column in panel.masks:
                axis.imshow(panel.masks[column][0].float().cpu().numpy(), cmap="gray", vmin=0, vmax=1)
                axis.set_title(column, fontsize=7)
    return figure


def curve_figure(rows: Sequence[Mapping[str, float]]) -> Figure | None:
    """Return the loss terms over steps, training and validation in one plot a term; None without rows."""
    terms = sorted({key.split("/", 1)[1] for row in rows for key in row if key.startswith(("train/", "val/"))})
    if not terms:
        return None
    columns = min(4, len(terms))
    lines = -(-len(terms) // columns)
    figure = Figure(figsize=(3.2 * columns, 2.3 * lines), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False).flatten()
    for axis in axes[len(terms) :]:
        axis.set_axis_off()
    for axis, term in zip(axes, terms, strict=False):
        for split, colour in (("train", "C0"), ("val", "C1")):
            points = [(row["step"], row[f"{split}/{term}"]) for row in rows if f"{split}/{term}" in row]
            if points:
                # A line of one point would not be seen.
                marker = "o" if split == "val" or len(points) == 1 else ""
                axis.plot(
                    *zip(*points, strict=True), color=colour, marker=marker, label=split, linewidth=1, markersize=3
                )
        axis.set_title(term, fontsize=9)
        axis.tick_params(labelsize=7)
        axis.set_xlabel("step", fontsize=7)
        axis.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
        axis.legend(fontsize=7)
    return figure


def save_figure(figure: Figure, path: Path, dpi: int = 110) -> None:
    """Write a figure as PNG, in one step."""
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=dpi)


def outlined(image: Tensor, boxes: NDArray[Any], colour: tuple[int, int, int] = (80, 255, 80)) -> Tensor:
    """Draw boxes (n, 4), half-open x0, y0, x1, y1 in pixels, onto a copy of an image (3, H, W) uint8."""
    width = max(2, round(max(image.shape[-2:]) / 150))
    picture = image.clone()
    paint = torch.tensor(colour, dtype=torch.uint8)[:, None, None]
    for x0, y0, x1, y1 in boxes.round().astype(int).tolist():
        frame = torch.zeros(image.shape[-2:], dtype=torch.bool)
        frame[y0:y1, x0:x1] = True
        frame[y0 + width : y1 - width, x0 + width : x1 - width] = False
        picture = torch.where(frame, paint, picture)
    return picture


def _printable(name: str) -> str:
    """A file name without what a font cannot draw: bytes that are no UTF-8, and the signs of formulas."""
    return name.encode("utf-8", "backslashreplace").decode().replace("$", r"\$")


def as_array(image: Tensor) -> np.ndarray:
    """Return an image (3, H, W), uint8 or float in [0, 1], as an array (H, W, 3)."""
    image = image.cpu()
    return (image if image.dtype == torch.uint8 else image.float().clamp(0, 1)).permute(1, 2, 0).numpy()
