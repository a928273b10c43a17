"""What was measured on one data set: rows of figures, every choice of the protocol, and what was left out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isclose
from pathlib import Path
from typing import Any, Protocol

from segtricks.metrics import ImageScores
from segtricks.metrics.measures import IMAGE_MEASURES
from segtricks.runs import file_name, write_csv, write_json


class Choices(Protocol):
    """Every choice that changes a number, as written into results."""

    @property
    def name(self) -> str:
        """Name of the protocol."""

    def as_dict(self) -> dict[str, Any]:
        """Return every choice as plain data."""


@dataclass
class Score:
    """The figures of one row, such as ``mask`` or ``mask + guided filter``, by its masks, boxes or label maps.

    Args:
        dataset: its name.
        row: its name.
        images: how many were scored.
        metrics: by name.
        empty: images empty in prediction and target, which have no IoU.
        size_bins: IoU by object size.
        curves: precision, recall and F at each threshold.
        per_image: by name of the image, its measures.
        hits: by name of the image, whether its box was right.
        per_class: by name of the metric, the IoU of each class.
        details: by name of the image, further columns of its line.
    """

    dataset: str
    row: str
    images: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    empty: int | None = None
    size_bins: list[dict[str, Any]] = field(default_factory=list)
    curves: dict[str, list[float]] = field(default_factory=dict)
    per_image: dict[str, ImageScores] = field(default_factory=dict)
    hits: dict[str, bool] = field(default_factory=dict)
    per_class: dict[str, list[float]] = field(default_factory=dict)
    details: dict[str, dict[str, Any]] = field(default_factory=dict)

    def lines(self) -> list[dict[str, Any]]:
        """Return one line per image: name, measures, ``size`` (the target's share of it) and ``corloc`` (0 or 1).

        ``max_fbeta`` is the image's own maximum, an IoU that does not exist is empty, and E is cut at 1 as in the mean.
        """
        return [self._line(name) for name in dict.fromkeys([*self.per_image, *self.hits, *self.details])]

    def _line(self, name: str) -> dict[str, Any]:
        line: dict[str, Any] = {"image": name}
        if name in self.per_image:
            image = self.per_image[name]
            for measure, value in zip(IMAGE_MEASURES, image.values.tolist(), strict=True):
                line[measure] = "" if value != value else min(value, 1.0)
            line["size"] = float(image.size)
        if name in self.hits:
            line["corloc"] = int(self.hits[name])
        return line | self.details.get(name, {})


@dataclass
class Evaluation:
    """Everything that was measured on one data set.

    Args:
        dataset: its name.
        protocol: every choice.
        rows: by name.
        skipped: path and reason of what was not scored.
        left_out: by option of the data, path and reason of what could not be used of sets that are not scored.
    """

    dataset: str
    protocol: Choices
    rows: dict[str, Score]
    skipped: list[tuple[str, str]] = field(default_factory=list)
    left_out: dict[str, list[tuple[str, str]]] = field(default_factory=dict)

    @property
    def images(self) -> int:
        """How many images were scored."""
        return max((score.images for score in self.rows.values()), default=0)

    def one_sided(self) -> str:
        """Return a sentence where all targets, or all masks of a row, are empty or full; else nothing."""
        sizes = {float(image.size) for score in self.rows.values() for image in score.per_image.values()}
        if sizes == {0.0}:
            return "all targets are without foreground."
        if sizes == {1.0}:
            return "all targets are foreground everywhere."
        for row, score in self.rows.items():
            images = score.per_image.values()
            if images and all(map(_is_empty, images)):
                return f"all masks of the row {row!r} are without foreground."
            if images and all(map(_is_full, images)):
                return f"all masks of the row {row!r} are foreground everywhere."
        return ""

    def listed(self) -> list[dict[str, str]]:
        """Return what was left out, as result files list it; ``of`` is the option of a set that is not scored."""
        listed = [{"path": path, "reason": reason} for path, reason in self.skipped]
        for option, skipped in self.left_out.items():
            listed += [{"path": path, "reason": reason, "of": option} for path, reason in skipped]
        return listed

    def as_dict(self, main: str, refine_at: str, **about: Any) -> dict[str, Any]:
        """Return the content of a result file.

        Args:
            main: the row whose figures are ``metrics``: those of the masks that are predicted.
            refine_at: the resolution at which the other rows were refined.
            about: further keys: where the data and the masks come from.
        """
        content: dict[str, Any] = {
            "dataset": self.dataset,
            "protocol": self.protocol.as_dict() | {"refine_at": refine_at},
            **about,
            "images": self.images,
            "skipped": self.listed(),
            "metrics": self.rows[main].metrics,
            "rows": {row: score.metrics for row, score in self.rows.items()},
        }
        if any(score.per_image for score in self.rows.values()):
            content["empty"] = {row: score.empty for row, score in self.rows.items()}
            content["size_bins"] = {row: score.size_bins for row, score in self.rows.items()}
        if any(score.per_class for score in self.rows.values()):
            content["per_class"] = {row: score.per_class for row, score in self.rows.items()}
        return content

    def lines(self) -> list[dict[str, Any]]:
        """Return one line per image and row, the row in the column ``mask``."""
        return [{"mask": row} | line for row, score in self.rows.items() for line in score.lines()]


_ACCURACY, _IOU = (IMAGE_MEASURES.index(measure) for measure in ("acc", "iou"))


def _is_empty(image: ImageScores) -> bool:
    """Whether the prediction was empty: nothing is shared, and the target alone is wrong."""
    accuracy, iou = float(image.values[_ACCURACY]), float(image.values[_IOU])
    return not iou > 0 and isclose(accuracy, 1 - float(image.size), abs_tol=1e-6)


def _is_full(image: ImageScores) -> bool:
    """Whether the prediction was full: accuracy and IoU are the target's share."""
    size = float(image.size)
    accuracy, iou = float(image.values[_ACCURACY]), float(image.values[_IOU])
    return isclose(accuracy, size, abs_tol=1e-6) and isclose(iou, size, abs_tol=1e-6)


def write_result(run: Path, evaluation: Evaluation, content: Mapping[str, Any], before: bool = False) -> None:
    """Write ``RUN/test/DATASET[-PROTOCOL][-before].json`` and ``…-per-image.csv``.

    Args:
        run: the run folder.
        evaluation: what was measured.
        content: of the JSON file, see :meth:`Evaluation.as_dict`.
        before: whether it was measured before the training.
    """
    protocol = evaluation.protocol.name
    parts = [evaluation.dataset, "" if protocol == "fullres" else protocol]
    stem = "-".join(file_name(part) for part in parts if part) + ("-before" if before else "")
    write_json(run / "test" / f"{stem}.json", content)
    write_csv(run / "test" / f"{stem}-per-image.csv", evaluation.lines())
