"""Panoptic quality: segments of things and of stuff, matched by their overlap."""

from collections.abc import Collection
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from segtricks.metrics.base import keep_apart

_VOID = -1


class SegmentOverlaps(NamedTuple):
    """The segments of one image in prediction and target, and how many pixels they share.

    Args:
        pred: (n,) categories of the predicted segments; the first is void, -1, as are others that do not count.
        target: (m,) categories of the true ones; the first is void.
        shared: (n, m) int64 pixels.
        crowd: (m,) bool, which true segments are crowds.
    """

    pred: Tensor
    target: Tensor
    shared: Tensor
    crowd: Tensor


class PanopticQuality(Metric):
    """PQ, the mean over classes of the matched segments' IoU, of which segments without a match take their share.

    ``update(pred, target, crowd)`` takes int64 (B, H, W, 2): the category of each pixel, -1 for void, and the number of
    its segment; ``crowd`` (B, H, W) bool marks the segments of the target that are crowds. Segments are told apart by
    category and number, those of stuff too. A predicted and a true segment of one category match where their IoU, void
    pixels of the target left out, is above one half. Crowds match nothing; predicted segments that lie for more than
    half on void and on a crowd of their category are not counted (the crowd of the highest number, of several).

    Unlike ``torchmetrics.detection.PanopticQuality``, it equals panopticapi where a prediction leaves pixels void,
    where there are crowds, and where a class of stuff has several segments.

    Args:
        things: categories of things.
        stuff: categories of stuff.

    Raises:
        ValueError: a category is in both, or below 0.

    Source: Kirillov et al., "Panoptic Segmentation", CVPR 2019, and cocodataset/panopticapi.
    """

    full_state_update = False
    higher_is_better = True
    iou: Tensor
    matched: Tensor
    missed: Tensor
    wrong: Tensor

    def __init__(self, things: Collection[int], stuff: Collection[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.things, self.stuff = sorted(things), sorted(stuff)
        self.categories = sorted({*self.things, *self.stuff})
        if len(self.categories) < len(self.things) + len(self.stuff) or min(self.categories, default=0) < 0:
            raise ValueError(f"categories must differ and count from 0, got things {things} and stuff {stuff}")
        keep_apart(self, self.things, self.stuff)
        count = len(self.categories)
        self.add_state("iou", torch.zeros(count, dtype=torch.float64), dist_reduce_fx="sum")
        for name in ("matched", "missed", "wrong"):
            self.add_state(name, torch.zeros(count, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, pred: Tensor, target: Tensor, crowd: Tensor | None = None) -> None:
        """Add a batch of images; a ``ValueError`` for other shapes, or a category that is not among these."""
        if pred.ndim != 4 or pred.shape[-1] != 2 or pred.shape != target.shape:
            raise ValueError(f"pred and target must be (B, H, W, 2), got {tuple(pred.shape)} and {tuple(target.shape)}")
        if crowd is None:
            crowd = torch.zeros(target.shape[:3], dtype=torch.bool, device=target.device)
        for one, other, crowds in zip(pred, target, crowd.bool(), strict=True):
            self.add(segment_overlaps(one, other, crowds))

    def add(self, overlaps: SegmentOverlaps) -> None:
        """Add an image by its segments; a ``ValueError`` for a category that is not among these."""
        self._computed = None
        self._update_count += 1
        ours, theirs, shared, is_crowd = (values.to(self.iou.device) for values in overlaps)
        self._check(ours, theirs)
        areas = shared.sum(dim=1)
        union = areas[:, None] + shared.sum(dim=0) - shared - shared[:, :1]
        ious = shared.double() / union.clamp_min(1)
        same = (ours[:, None] == theirs) & (ours[:, None] != _VOID) & ~is_crowd
        hits = same & (ious > 0.5)
        excused = shared[:, 0] + _on_crowds(ours, theirs, shared, is_crowd)
        wrong = ~hits.any(dim=1) & ~(2 * excused > areas)
        matched = ours[hits.nonzero()[:, 0]]
        self._count(self.wrong, ours[wrong])
        self._count(self.missed, theirs[~hits.any(dim=0) & ~is_crowd])
        self._count(self.matched, matched)
        self.iou.index_add_(0, self._rows(matched), ious[hits])

    def compute(self) -> dict[str, Any]:
        """Return the scores of all images.

        Returns:
            ``pq``, ``sq`` and ``rq``, means over the classes that occur in target or prediction, the same of
            ``_things`` and ``_stuff``, float64 and nan without any such class; and ``per_class``: by category that
            occurs, its (pq, sq, rq).
        """
        halves = self.matched + 0.5 * self.wrong + 0.5 * self.missed
        sq = self.iou / self.matched.clamp_min(1)
        rq = self.matched / halves.clamp_min(0.5)
        values = torch.stack([sq * rq, sq, rq], dim=1)
        occurs = halves > 0
        scores: dict[str, Any] = {}
        for suffix, chosen in (("", self.categories), ("_things", self.things), ("_stuff", self.stuff)):
            own = torch.tensor([category in chosen for category in self.categories], device=occurs.device)
            means = values[occurs & own].mean(dim=0)
            scores |= {f"{name}{suffix}": mean for name, mean in zip(("pq", "sq", "rq"), means, strict=True)}
        rows = zip(self.categories, values.tolist(), occurs.tolist(), strict=True)
        scores["per_class"] = {category: tuple(row) for category, row, occurring in rows if occurring}
        return scores

    def _check(self, *categories: Tensor) -> None:
        unknown = set(torch.cat(categories).tolist()).difference(self.categories, [_VOID])
        if unknown:
            raise ValueError(f"categories {sorted(unknown)} are neither things nor stuff, nor -1")

    def _count(self, counts: Tensor, categories: Tensor) -> None:
        counts += torch.bincount(self._rows(categories[categories != _VOID]), minlength=len(counts))

    def _rows(self, categories: Tensor) -> Tensor:
        return torch.searchsorted(torch.tensor(self.categories, device=categories.device), categories)


def segment_overlaps(pred: Tensor, target: Tensor, crowd: Tensor) -> SegmentOverlaps:
    """Return the segments of maps (H, W, 2), see :class:`PanopticQuality`, and of crowds (H, W) bool."""
    ours, pred_places = _segments(pred)
    theirs, target_places = _segments(target)
    pairs = pred_places.flatten() * len(theirs) + target_places.flatten()
    shared = torch.bincount(pairs, minlength=len(ours) * len(theirs)).view(len(ours), len(theirs))
    is_crowd = torch.zeros(len(theirs), dtype=torch.bool, device=theirs.device)
    is_crowd[target_places[crowd].unique()] = True
    is_crowd[0] = False
    return SegmentOverlaps(ours, theirs, shared, is_crowd)


def _segments(image: Tensor) -> tuple[Tensor, Tensor]:
    """Categories of the segments of (H, W, 2), the first void, and each pixel's segment (H, W)."""
    categories, numbers = image.long().unbind(-1)
    lowest, span = int(numbers.min()), int(numbers.max() - numbers.min()) + 1
    codes = torch.where(categories == _VOID, -1, categories * span + numbers - lowest)
    found, places = torch.cat([codes.new_tensor([-1]), codes.flatten()]).unique(return_inverse=True)
    return found.div(span, rounding_mode="floor"), places[1:].view(categories.shape)


def _on_crowds(ours: Tensor, theirs: Tensor, shared: Tensor, is_crowd: Tensor) -> Tensor:
    """Pixels of each predicted segment on the last crowd of its category."""
    last = {int(theirs[place]): place for place in is_crowd.nonzero()[:, 0].tolist()}
    pixels = [int(shared[i, last[kind]]) if kind in last else 0 for i, kind in enumerate(ours.tolist())]
    return shared.new_tensor(pixels)
