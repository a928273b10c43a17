"""Score instances and stuff that a network has found without labels: class-agnostic AP, panoptic quality and mIoU."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.ops import masks_to_boxes

from segtricks.data.sample import Instances, Panoptic
from segtricks.data.transforms import VOID
from segtricks.errors import UserError
from segtricks.metrics import ClassAgnosticAP, PanopticQuality, SegmentOverlaps, box_votes, match_clusters
from segtricks.metrics import segment_overlaps as find_overlaps
from segtricks.metrics.matching import overlaps
from segtricks.metrics.semantic import semantic_scores
from segtricks.pseudo_labels.merge import PanopticPrediction
from segtricks.scoring.evaluation import Evaluation, Score
from segtricks.scoring.evaluator import Target, Verdict, gathered
from segtricks.scoring.object_floors import FLOORS, object_floors
from segtricks.scoring.panoptic_protocol import PanopticProtocol

_STUFF = 2**20
"""Added to the classes of stuff, to tell them from those of things."""


class _Found(NamedTuple):
    """What is kept of one image: its segments, and the boxes (n, 4), labels and scores of detections and truth."""

    name: str
    segments: SegmentOverlaps
    boxes: Tensor
    labels: Tensor
    scores: Tensor
    true_boxes: Tensor
    true_labels: Tensor


class PanopticEvaluator:
    """Score instances and panoptic maps against truth that is :class:`segtricks.data.sample.Panoptic`.

    ``result`` has ``box_ap``, ``box_ap50``, ``box_ar100`` and the same of masks for the predictions and, in rows of
    their own, for the floors of :mod:`segtricks.scoring.object_floors`. Where the truth has stuff, also ``pq``, ``sq``,
    ``rq``, ``pq_things`` and ``pq_stuff``, and of the pixels of the panoptic map ``semantic_miou`` and
    ``semantic_accuracy``, where all things are one class next to those of stuff. Figures that do not exist are left
    out. Memory grows with the number of detections, by their run-length codes.

    Args:
        dataset: its name in the result.
        num_things: classes of the predicted instances, from 1.
        num_stuff: classes of the predicted stuff, from 1.
        protocol: every choice that changes a number.
        row: name of the predictions.
        device: where the sums are.
    """

    def __init__(
        self,
        dataset: str,
        num_things: int,
        num_stuff: int,
        protocol: PanopticProtocol | None = None,
        row: str = "mask",
        device: torch.device | str = "cpu",
    ) -> None:
        self.dataset, self.protocol, self.row = dataset, protocol or PanopticProtocol(), row
        self.num_things, self.num_stuff, self.device = num_things, num_stuff, device
        self._ap = {
            row: {"box": ClassAgnosticAP("bbox").to(device), "mask": ClassAgnosticAP("segm").to(device)}
            for row in (row, *FLOORS)
        }
        self._found: list[_Found] = []
        self._mapped_by: list[_Found] = []
        self._has_stuff = False
        self.skipped: list[tuple[str, str]] = []
        """Path and reason, in this process."""

    def add(self, target: Target, predictions: Mapping[str, PanopticPrediction]) -> dict[str, Verdict]:
        """Add an image; figures exist only of all together."""
        truth = target.panoptic
        if truth is None:
            raise ValueError(f"{target.name} has no panoptic truth")
        prediction = predictions[self.row]
        rows = {self.row: prediction.instances} | object_floors((truth.semantic.shape[-2], truth.semantic.shape[-1]))
        truths = true_objects(truth.instances, self.device)
        for row, instances in rows.items():
            for metric in self._ap[row].values():
                metric.update([detected(instances, self.device)], [truths])
        self._found.append(self._keep(target.name, prediction, truth))
        self._has_stuff |= bool(((truth.semantic > 0) & (truth.semantic != VOID)).any())
        return {self.row: Verdict()}

    def add_to_mapping(self, target: Target, predictions: Mapping[str, PanopticPrediction]) -> None:
        """Add an image whose truth decides the classes of clusters, and which is not scored."""
        if target.panoptic is None:
            raise ValueError(f"{target.name} has no panoptic truth")
        self._mapped_by.append(self._keep(target.name, predictions[self.row], target.panoptic))

    def skip(self, path: str, reason: str) -> None:
        """Note an image that is not scored."""
        self.skipped.append((path, reason))

    def result(self) -> Evaluation:
        """Return the figures, over the images of all processes."""
        found = gathered(self._found)
        rows = {row: Score(self.dataset, row, len(found)) for row in self._ap}
        for row, score in rows.items():
            for kind, metric in self._ap[row].items():
                figures = metric.compute()
                score.metrics |= existing({f"{kind}_{key}": figures[key] for key in ("ap", "ap50", "ar100")})
        own = rows[self.row]
        own.details = {each.name: {"detections": len(each.boxes), "objects": len(each.true_boxes)} for each in found}
        if any(gathered([self._has_stuff])):
            self._add_quality(own, found)
        return Evaluation(self.dataset, self.protocol, rows, gathered(self.skipped))

    def _keep(self, name: str, prediction: PanopticPrediction, truth: Panoptic) -> _Found:
        ours, theirs = prediction.instances, truth.instances
        found, categories = prediction.panoptic
        table = torch.cat([categories.new_tensor([-1]), categories])
        pixels = torch.stack([table[found], found], dim=-1)
        crowds = theirs.masks[_crowd(theirs)].any(dim=0)
        true = true_segments(truth, self.protocol.join_stuff)
        segments = find_overlaps(pixels.cpu(), true.cpu(), crowds.cpu())
        kept = (_boxes(ours), ours.labels, ours.scores, _boxes(theirs), theirs.labels)
        return _Found(name, segments, *(values.cpu() for values in kept))

    def _add_quality(self, score: Score, found: Sequence[_Found]) -> None:
        known = gathered(self._mapped_by) if self.protocol.mapped_on == "train" else found
        if not known:
            raise UserError(
                f"The protocol {self.protocol.name} finds the classes of clusters on other images: there are none.\n"
                "Next: pass images with their truth as --data.mapping SET."
            )
        mapping = self._mapping(known, *_classes(known))
        things, stuff = _classes([*found, *known])
        things = sorted({*things, *mapping[1 : self.num_things + 1].tolist()} - {-1})  # those without truth are wrong
        mapped = [each.segments._replace(pred=mapping[each.segments.pred]) for each in found]
        quality = PanopticQuality(things, stuff, sync_on_compute=False)  # it has the images of all processes
        for segments in mapped:
            quality.add(segments)
        figures = quality.compute()
        score.metrics |= existing({key: figures[key] for key in ("pq", "sq", "rq", "pq_things", "pq_stuff")})
        true_things, true_stuff = _classes(found)
        score.per_class["pq"] = [figures["per_class"].get(kind, (0.0,))[0] for kind in (*true_things, *true_stuff)]
        self._add_semantic(score, found, mapping, stuff)

    def _add_semantic(self, score: Score, found: Sequence[_Found], mapping: Tensor, stuff: list[int]) -> None:
        """Add the scores of pixels, where all things are the class 0 and those of stuff follow."""
        confusion = torch.zeros(len(stuff) + 2, len(stuff) + 2, dtype=torch.int64)
        for each in found:
            ours, theirs, shared, _ = each.segments
            is_thing = (ours > 0) & (ours <= self.num_things)
            pred = torch.where(is_thing, 0, _semantic(mapping[ours], stuff))
            pairs = pred[:, None] * len(confusion) + _semantic(theirs, stuff)
            confusion.view(-1).index_add_(0, pairs.flatten(), shared.flatten())
        # The last row and column are of pixels without a class.
        counted = confusion[:-1, :-1] if self.protocol.drop_unmapped else confusion[:, :-1]
        figures = semantic_scores(counted, torch.arange(len(stuff) + 1))
        named = {"semantic_miou": figures["miou_present"], "semantic_accuracy": figures["accuracy"]}
        score.metrics |= existing(named)
        score.per_class["semantic_miou"] = figures["per_class"].tolist()

    def _mapping(self, found: Sequence[_Found], things: list[int], stuff: list[int]) -> Tensor:
        """The class of each predicted category, -1 for none and, at the end, for void."""
        first = self.num_things + 1
        mapping = torch.full((first + self.num_stuff + 1,), -1)
        mapping[1:first] = self._matched(self._thing_table(found, things)[1:first], things)
        mapping[first:-1] = self._matched(self._stuff_table(found, stuff)[first:-1], stuff)
        return mapping

    def _matched(self, table: Tensor, classes: list[int]) -> Tensor:
        places = match_clusters(table, self.protocol.mapping, by="count")
        return torch.tensor([*classes, -1])[places]

    def _thing_table(self, found: Sequence[_Found], classes: list[int]) -> Tensor:
        """Votes or pixels (categories, classes)."""
        if self.protocol.mapping == "hungarian":
            return self._sum([(each.segments, each.segments.shared) for each in found], classes)
        numbers = {kind: place for place, kind in enumerate(classes)}
        total = self._sum([], classes)
        for each in found:
            total += box_votes(
                each.boxes,
                each.labels,
                each.scores,
                each.true_boxes,
                torch.tensor([numbers[kind] for kind in each.true_labels.tolist()], dtype=torch.int64),
                num_clusters=len(total),
                num_classes=len(classes),
                min_score=self.protocol.vote_score,
                min_iou=self.protocol.vote_iou,
            )
        return total

    def _stuff_table(self, found: Sequence[_Found], classes: list[int]) -> Tensor:
        """Votes or pixels (categories, classes)."""
        segments = [each.segments for each in found]
        if self.protocol.mapping == "hungarian":
            return self._sum([(each, each.shared) for each in segments], classes)
        joined = [_joined_classes(each) for each in segments]
        votes = [(overlaps(each.shared) > self.protocol.vote_stuff_iou).long() for each in joined]
        return self._sum(list(zip(joined, votes, strict=True)), classes)

    def _sum(self, tables: Sequence[tuple[SegmentOverlaps, Tensor]], classes: list[int]) -> Tensor:
        """Sum of tables of segments, as one of predicted categories and classes."""
        total = torch.zeros(self.num_things + self.num_stuff + 2, len(classes), dtype=torch.int64)
        for segments, table in tables:
            for column, kind in enumerate(segments.target.tolist()):
                if kind in classes:
                    total[:, classes.index(kind)].index_add_(0, segments.pred % len(total), table[:, column])
        return total


def true_segments(truth: Panoptic, join_stuff: bool = True) -> Tensor:
    """Return the category and number of each pixel's segment, (H, W, 2) int64, -1 and 0 where nothing is known.

    Things have their labels; classes of stuff are told apart by a large number that is added. Of instances that
    overlap, the later one is seen. Without ``join_stuff``, segments of one class of stuff keep their numbers.
    """
    semantic = truth.semantic[0]
    known = (semantic > 0) & (semantic != VOID)
    categories = torch.where(known, semantic + _STUFF, -1)
    numbers = torch.zeros_like(semantic)
    if truth.segments is not None and not join_stuff:
        numbers = torch.where(known, truth.segments[0], numbers)
    pairs = zip(truth.instances.masks, truth.instances.labels.tolist(), strict=True)
    for number, (mask, label) in enumerate(pairs, start=1):
        categories[mask] = label
        numbers[mask] = number
    return torch.stack([categories, numbers], dim=-1)


def _joined_classes(segments: SegmentOverlaps) -> SegmentOverlaps:
    """The same with the true segments of each category as one, without crowds."""
    categories, places = segments.target.unique(return_inverse=True)
    shared = segments.shared.new_zeros(len(segments.pred), len(categories)).index_add_(1, places, segments.shared)
    return SegmentOverlaps(segments.pred, categories, shared, torch.zeros(len(categories), dtype=torch.bool))


def _classes(found: Sequence[_Found]) -> tuple[list[int], list[int]]:
    """The true classes of things and of stuff."""
    stated = {kind for each in found for kind in each.true_labels.tolist()}
    seen = {kind for each in found for kind in each.segments.target[1:].tolist()}
    return sorted(stated), sorted(kind for kind in seen if kind >= _STUFF)


def _semantic(categories: Tensor, stuff: list[int]) -> Tensor:
    """The class of each category: 0 of things, from 1 on of these kinds of stuff, one more of none, -1."""
    classes = torch.zeros_like(categories)
    for place, kind in enumerate((*stuff, -1), start=1):
        classes[categories == kind] = place
    return classes


def _boxes(instances: Instances) -> Tensor:
    """The boxes (n, 4) as stated, or around the masks; float32."""
    if instances.boxes is not None:
        return instances.boxes.float()
    boxes = masks_to_boxes(instances.masks)
    boxes[:, 2:] += 1  # the last pixel is inside
    return boxes


def _crowd(instances: Instances) -> Tensor:
    if instances.crowd is not None:
        return instances.crowd
    return torch.zeros(len(instances.masks), dtype=torch.bool, device=instances.masks.device)


def detected(instances: Instances, device: torch.device | str) -> dict[str, Tensor]:
    """Return what :class:`segtricks.metrics.ClassAgnosticAP` takes of the predictions of an image."""
    found = {"boxes": _boxes(instances), "masks": instances.masks, "scores": instances.scores}
    return {key: value.to(device) for key, value in found.items()}


def true_objects(instances: Instances, device: torch.device | str) -> dict[str, Tensor]:
    """Return what it takes of the truth."""
    found = {"boxes": _boxes(instances), "masks": instances.masks, "iscrowd": _crowd(instances)}
    found["area"] = instances.masks.flatten(1).sum(dim=1)
    return {key: value.to(device) for key, value in found.items()}


def existing(figures: Mapping[str, Tensor]) -> dict[str, float]:
    """Return the figures that are not nan."""
    return {key: float(value) for key, value in figures.items() if not value.isnan()}
