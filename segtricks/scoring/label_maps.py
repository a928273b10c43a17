"""Maps of clusters against label maps, by one confusion matrix of a whole data set."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from segtricks.data.transforms import CenterCropTransform, with_short_side
from segtricks.errors import UserError
from segtricks.metrics import SemanticIoU
from segtricks.metrics.matching import match_clusters
from segtricks.metrics.semantic import semantic_scores
from segtricks.scoring.evaluation import Evaluation, Score
from segtricks.scoring.evaluator import Target, Verdict, gathered

_VOID = 255


@dataclass(frozen=True)
class LabelMapProtocol:
    """How maps of clusters are scored; written whole into every result.

    Args:
        num_classes: classes of the label maps, 0 to ``num_classes - 1``; pixels of 255 do not count.
        crop: score the middle square of this side, of photographs and label maps whose short side was resized to it,
            each pixel the nearest one, as STEGO does with 320; None scores whole photographs at their own size.
    """

    num_classes: int = 21
    crop: int | None = None

    def __post_init__(self) -> None:
        """Raise a ``UserError`` where a number is not possible."""
        if self.num_classes < 1 or (self.crop is not None and self.crop < 1):
            raise UserError(
                f"model.semantic has num_classes {self.num_classes} and crop {self.crop}: both are at least 1."
            )

    @property
    def name(self) -> str:
        """``labels``, and the side of a crop."""
        return "labels" if self.crop is None else f"labels-{self.crop}"

    def as_dict(self) -> dict[str, Any]:
        """Return every choice as plain data."""
        return {"name": self.name, **dataclasses.asdict(self), "matching": "hungarian", "by": "count", "void": _VOID}

    def of_classes(self, names: Sequence[str]) -> "LabelMapProtocol":
        """Return the protocol for a set with these classes; of none, itself."""
        return dataclasses.replace(self, num_classes=len(names) or self.num_classes)

    def cut(self, pixels: Tensor) -> Tensor:
        """Return what is scored of (C, H, W)."""
        if self.crop is None:
            return pixels
        height, width = with_short_side(pixels.shape[-2], pixels.shape[-1], self.crop)
        middle = CenterCropTransform(self.crop, self.crop).cut_target(pixels, height, width)
        assert isinstance(middle, Tensor)
        return middle


@dataclass(frozen=True)
class _Choices:
    """Every choice of a result: the protocol, and the name of other images by whose labels clusters got classes."""

    protocol: LabelMapProtocol
    mapping_set: str | None

    @property
    def name(self) -> str:
        return self.protocol.name

    def as_dict(self) -> dict[str, Any]:
        return self.protocol.as_dict() | {"mapping_set": self.mapping_set}


class Segmented(NamedTuple):
    """What is predicted for one image: ``clusters`` (H, W), and the ``classes`` (H, W) of a linear probe, if any."""

    clusters: Tensor
    classes: Tensor | None = None


class LabelMapEvaluator:
    """Score maps of clusters, and those of a probe, against label maps; only counts of pixels are kept.

    ``result`` has

    * ``cluster_miou``, the mean over the classes of the targets, and ``cluster_accuracy``: clusters are matched to
      classes one to one, so that most pixels are right, and pixels of clusters without a class are wrong;
    * ``cluster_miou_majority`` and ``cluster_accuracy_majority``: each cluster takes the class of most of its pixels;
    * ``cluster_miou_train`` and ``cluster_accuracy_train``, if images were added to the mapping: clusters are matched
      one to one with the labels of these;
    * ``cluster_miou_published`` and ``cluster_accuracy_published``, as STEGO's code has them: where there are more
      clusters than classes, pixels of those beyond are dropped before anything is counted, and the mean is over the
      classes of predictions and targets;
    * of a probe ``linear_miou``, in which a class absent from the targets counts 0, and ``linear_miou_present``.

    Args:
        dataset: its name in the result.
        protocol: every choice that changes a number.
        num_clusters: clusters of the predictions.
        row: name of the row.
        published: also score as STEGO's code does.
        mapping_set: name of the images that are added to the mapping.
    """

    def __init__(
        self,
        dataset: str,
        protocol: LabelMapProtocol,
        num_clusters: int,
        row: str = "mask",
        published: bool = True,
        mapping_set: str | None = None,
    ) -> None:
        self.dataset, self.protocol, self.row, self.published = dataset, protocol, row, published
        self._choices = _Choices(protocol, mapping_set)
        self._clusters, self._mapped_by = (
            SemanticIoU(protocol.num_classes, num_clusters, "hungarian", _VOID, "count") for _ in range(2)
        )
        self._classes = SemanticIoU(protocol.num_classes, ignore_index=_VOID)
        self._images = self._probed = 0
        self.skipped: list[tuple[str, str]] = []
        """Path and reason, in this process."""

    def add(self, target: Target, predictions: Mapping[str, Segmented]) -> dict[str, Verdict]:
        """Add an image; maps are of the size of its labels."""
        prediction = predictions[self.row]
        labels = self._count(self._clusters, target, prediction)
        self._images += 1
        if prediction.classes is not None:
            self._classes.update(prediction.classes.cpu(), labels)
            self._probed += 1
        return {self.row: Verdict()}

    def add_to_mapping(self, target: Target, predictions: Mapping[str, Segmented]) -> None:
        """Add an image whose labels decide the classes of clusters, and which is not scored."""
        self._count(self._mapped_by, target, predictions[self.row])

    def _count(self, counts: SemanticIoU, target: Target, prediction: Segmented) -> Tensor:
        """Count the pixels of an image; return its labels."""
        if target.labels is None:
            raise ValueError(f"{target.name} has no labels")
        labels = target.labels.reshape(prediction.clusters.shape).cpu()
        classes, largest = self.protocol.num_classes, _largest(labels)
        if largest >= classes:
            raise UserError(
                f"The label map of {target.name} holds the class {largest}, and there are {classes} from 0 on.\n"
                f"Next: pass --model.semantic.num_classes {largest + 1} or more."
            )
        counts.update(prediction.clusters.cpu(), labels)
        return labels

    def skip(self, path: str, reason: str) -> None:
        """Note an image that is not scored."""
        self.skipped.append((path, reason))

    def result(self) -> Evaluation:
        """Return the figures over the images of all processes."""
        counts = _sum([self._clusters.confusion])
        score = Score(self.dataset, self.row, int(_sum([torch.tensor(self._images)])))
        mappings = {
            "": match_clusters(counts[:-1], by="count"),
            "_majority": match_clusters(counts[:-1], "majority", by="count"),
        }
        known = _sum([self._mapped_by.confusion])[:-1]
        if known.any():
            mappings["_train"] = match_clusters(known, by="count")
        for suffix, mapping in mappings.items():
            figures = semantic_scores(counts, mapping)
            score.metrics[f"cluster_miou{suffix}"] = float(figures["miou_present"])
            score.metrics[f"cluster_accuracy{suffix}"] = float(figures["accuracy"])
            score.per_class[f"cluster_miou{suffix}"] = figures["per_class"].tolist()
        if self.published:
            published = _published(counts[:-1])
            score.metrics["cluster_miou_published"] = float(published["miou"])
            score.metrics["cluster_accuracy_published"] = float(published["accuracy"])
        self._add_probe(score)
        return Evaluation(self.dataset, self._choices, {self.row: score}, gathered(self.skipped))

    def _add_probe(self, score: Score) -> None:
        if not int(_sum([torch.tensor(self._probed)])):
            return
        counts = _sum([self._classes.confusion])
        probe = semantic_scores(counts, torch.arange(self.protocol.num_classes))
        score.metrics |= {"linear_miou": float(probe["miou"]), "linear_miou_present": float(probe["miou_present"])}
        score.per_class["linear_miou"] = probe["per_class"].tolist()


def _published(counts: Tensor) -> dict[str, Tensor]:
    """The scores of STEGO's code, from (clusters, classes)."""
    kept = counts[: counts.shape[1]]
    scores = semantic_scores(kept, match_clusters(kept, by="count"))
    mapped = torch.zeros(counts.shape[1], dtype=torch.int64)
    assigned = scores["mapping"] >= 0
    mapped[scores["mapping"][assigned]] = kept.sum(dim=1)[assigned]
    occurs = (mapped > 0) | (kept.sum(dim=0) > 0)
    return scores | {"miou": scores["per_class"][occurs].mean()}


def _largest(labels: Tensor) -> int:
    counted = labels[labels != _VOID]
    return int(counted.max()) if counted.numel() else 0


def _sum(parts: list[Tensor]) -> Tensor:
    """Of all processes."""
    return torch.stack(gathered(parts)).sum(dim=0)
