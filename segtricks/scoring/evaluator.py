"""The one way from masks to numbers: an evaluator takes the predictions for one data set and gives an evaluation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import torch
from numpy.typing import NDArray
from torch import Tensor

from segtricks.data.sample import Panoptic
from segtricks.metrics import ImageScores, SaliencySums, image_scores, is_hit, mask_box
from segtricks.metrics import Protocol as Choices
from segtricks.scoring.evaluation import Evaluation, Score

Item = TypeVar("Item")


@dataclass(frozen=True)
class Target:
    """What is known of one image.

    Args:
        name: of the image in results.
        mask: (1, 1, H, W), bool, 0/1 or 0..255; None where there is none.
        boxes: (n, 4) half-open x0, y0, x1, y1 in pixels; None where there are none.
        size: height and width that the boxes refer to; None is the prediction's own.
        labels: (1, H, W) or (H, W) class ids; None where there are none.
        panoptic: objects and stuff; None where there are none.
    """

    name: str
    mask: Tensor | None = None
    boxes: NDArray[Any] | Tensor | None = None
    size: tuple[int, int] | None = None
    labels: Tensor | None = None
    panoptic: Panoptic | None = None


@dataclass(frozen=True)
class Verdict:
    """The measures of one image's prediction: by its mask, by its boxes, or by both."""

    scores: ImageScores | None = None
    hit: bool | None = None


class Evaluator(Protocol):
    """Scores the predictions for one data set. Other tasks have evaluators of their own."""

    def add(self, target: Target, predictions: Mapping[str, Any]) -> Mapping[str, Verdict]:
        """Score the predictions for one image, by row of the result."""

    def skip(self, path: str, reason: str) -> None:
        """Note an image that is not scored."""

    def result(self) -> Evaluation:
        """Return everything that was measured, in all processes."""


@dataclass
class _Row:
    saliency: SaliencySums
    verdicts: list[tuple[str, Verdict]] = field(default_factory=list)


class SaliencyEvaluator:
    """Soft masks of single objects against masks, boxes or both, in several rows such as plain and refined.

    Args:
        dataset: its name in the result.
        protocol: every choice that changes a number. Crop, size and polarity of the predictions are the caller's, by
            the protocol's own methods.
        rows: names of the rows.
        masks: measure masks.
        boxes: measure boxes.
    """

    def __init__(
        self,
        dataset: str,
        protocol: Choices,
        rows: Sequence[str] = ("mask",),
        masks: bool = True,
        boxes: bool = False,
    ) -> None:
        self.dataset, self.protocol = dataset, protocol
        self._masks, self._boxes = masks, boxes
        self._rows = {row: _Row(SaliencySums(protocol)) for row in rows}
        self.skipped: list[tuple[str, str]] = []
        """Path and reason, in this process."""

    def judge(self, target: Target, predictions: Mapping[str, Tensor]) -> dict[str, Verdict]:
        """Score the predictions (1, 1, H, W) for one image, by row; no state is touched, so threads may do it."""
        return {row: self._verdict(target, mask) for row, mask in predictions.items()}

    def take(self, name: str, verdicts: Mapping[str, Verdict]) -> None:
        """Add an image that was judged."""
        for row, verdict in verdicts.items():
            sums = self._rows[row]
            if verdict.scores is not None:
                sums.saliency.add(verdict.scores)
            kept = None if verdict.scores is None else verdict.scores.brief()
            sums.verdicts.append((name, Verdict(kept, verdict.hit)))

    def add(self, target: Target, predictions: Mapping[str, Tensor]) -> dict[str, Verdict]:
        """Judge and add one image."""
        verdicts = self.judge(target, predictions)
        self.take(target.name, verdicts)
        return verdicts

    def skip(self, path: str, reason: str) -> None:
        """Note an image that is not scored."""
        self.skipped.append((path, reason))

    @property
    def images(self) -> int:
        """How many images were added in this process."""
        return max(len(sums.verdicts) for sums in self._rows.values())

    def sums(self, row: str) -> SaliencySums:
        """Return the sums of a row's measures of masks, in this process."""
        return self._rows[row].saliency

    def result(self) -> Evaluation:
        """Return the figures of every row, over the images of all processes."""
        rows = {row: self._score(row, sums) for row, sums in self._rows.items()}
        return Evaluation(self.dataset, self.protocol, rows, gathered(self.skipped))

    def _verdict(self, target: Target, mask: Tensor) -> Verdict:
        scores = None if target.mask is None else image_scores(mask, target.mask, self.protocol)
        if target.boxes is None:
            return Verdict(scores)
        whole = mask if target.size is None else self.protocol.fit(mask, target.size)
        return Verdict(scores, is_hit(mask_box(whole[0], self.protocol.select), torch.as_tensor(target.boxes)))

    def _score(self, row: str, sums: _Row) -> Score:
        verdicts = gathered(sums.verdicts)
        score = Score(self.dataset, row, len(verdicts))
        if self._masks:
            score.per_image = {name: verdict.scores for name, verdict in verdicts if verdict.scores is not None}
            saliency = SaliencySums(self.protocol)
            for share in gathered([sums.saliency]):
                saliency.merge(share)
            score.metrics |= {name: float(value) for name, value in saliency.compute().items()}
            score.empty, score.size_bins, score.curves = saliency.counts()[1], saliency.size_bins(), saliency.curves()
        if self._boxes:
            score.hits = {name: verdict.hit for name, verdict in verdicts if verdict.hit is not None}
            hits = [verdict.hit for _, verdict in verdicts if verdict.hit is not None]
            score.metrics["corloc"] = sum(hits) / len(hits) if hits else float("nan")
        return score


def gathered(items: list[Item]) -> list[Item]:
    """Return the items of all processes, in the order of their ranks; of one process, its own."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return items
    shares: list[list[Item]] = [[] for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather_object(shares, items)
    return [item for share in shares for item in share]
