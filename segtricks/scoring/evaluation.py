"""Score a folder of masks: pairs in, sums and one row an image out, several images at once."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from segtricks.data.boxes import ImageBoxes
from segtricks.data.images import UnreadableImage
from segtricks.errors import UserError
from segtricks.metrics import CorLoc, ImageScores, Protocol, SaliencyScores, background_evidence, image_scores
from segtricks.parallel import in_threads
from segtricks.scoring.mask_pairs import Pairs
from segtricks.scoring.mask_reading import fit, read_pair, read_prediction

Pair = tuple[str, Path, Path | None]


@dataclass
class Evaluation:
    """Everything that a folder's evaluation found.

    Args:
        scores: the figures of all images.
        corloc: hits, where there were boxes.
        images: by name, each scored image's figures.
        hits: by name, whether its box was right.
        notes: how many files each note of ``mask_reading.NOTES`` holds for.
        skipped: path and reason.
        files: by name, prediction and target.
    """

    scores: SaliencyScores
    corloc: CorLoc
    images: dict[str, ImageScores] = field(default_factory=dict)
    hits: dict[str, bool] = field(default_factory=dict)
    notes: Counter[str] = field(default_factory=Counter)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    files: dict[str, tuple[Path, Path | None]] = field(default_factory=dict)

    def count(self) -> int:
        """Return the number of images scored, by masks or boxes."""
        return len(self.files)


@dataclass
class _Outcome:
    pair: Pair
    scores: ImageScores | None = None
    hit: bool | None = None
    notes: set[str] = field(default_factory=set)
    skipped: tuple[str, str] | None = None


def evaluate(
    pairs: Pairs,
    protocol: Protocol,
    boxes: Mapping[str, ImageBoxes] | None = None,
    corloc: CorLoc | None = None,
    workers: int = 1,
    bar: str | None = None,
) -> Evaluation:
    """Score pairs by a protocol; a file that cannot be read is skipped.

    Args:
        pairs: of ``mask_pairs``.
        protocol: every choice but batch norm applies; a polarity per batch takes ``batch_size`` pairs in their order.
        boxes: by file name, for CorLoc; boxes of other images are ignored.
        corloc: how a mask becomes a box.
        workers: threads.
        bar: title of a progress bar.

    Raises:
        UserError: nothing could be scored.
    """
    found = Evaluation(SaliencyScores(protocol), corloc or CorLoc(), skipped=list(pairs.skipped))
    step = protocol.batch_size or 8 if protocol.polarity == "batch" else 1
    groups = [pairs.found[i : i + step] for i in range(0, len(pairs.found), step)]

    def work(group: Sequence[Pair]) -> list[_Outcome]:
        return list(_score(group, protocol, boxes or {}, found.corloc))

    for outcomes in in_threads(work, groups, workers, bar):
        for outcome in outcomes:
            _take(found, outcome)
    if not found.files:
        path, reason = found.skipped[0]
        raise UserError(f"None of {len(found.skipped):,} masks could be scored; the first, {path}: {reason}.")
    return found


def _take(found: Evaluation, outcome: _Outcome) -> None:
    name, prediction, target = outcome.pair
    found.notes.update(outcome.notes)
    if outcome.skipped is not None:
        found.skipped.append(outcome.skipped)
        return
    found.files[name] = prediction, target
    if outcome.scores is not None:
        found.images[name] = outcome.scores.brief()
        found.scores.add(outcome.scores)
    if outcome.hit is not None:
        found.hits[name] = outcome.hit
        found.corloc.add(outcome.hit)


def _score(
    group: Sequence[Pair], protocol: Protocol, boxes: Mapping[str, ImageBoxes], corloc: CorLoc
) -> Iterator[_Outcome]:
    read: list[tuple[Pair, Tensor, Tensor | None, set[str]]] = []
    for pair in group:
        try:
            if pair[2] is None:
                soft, notes = read_prediction(pair[1])
                read.append((pair, soft[None].double() / 255, None, notes))
            else:
                read.append((pair, *read_pair(pair[1], pair[2], protocol)))
        except UnreadableImage as error:
            yield _Outcome(pair, skipped=(error.path, error.reason))
    invert = _inverted([pred for _, pred, _, _ in read], protocol.polarity)
    for (pair, pred, truth, notes), flip in zip(read, invert, strict=True):
        pred = 1 - pred if flip else pred
        outcome = _Outcome(pair, notes=notes)
        if truth is not None:
            outcome.scores = image_scores(pred, truth, protocol)
        place = boxes.get(Path(pair[0]).name)
        if place is not None:
            outcome.hit = corloc.is_hit(fit(pred, place.size, protocol.interpolation)[0], place.boxes)
        yield outcome


def _inverted(preds: Sequence[Tensor], polarity: str) -> list[bool]:
    means = [float(background_evidence(pred, polarity)) for pred in preds]
    if polarity == "batch" and means:
        means = [sum(means) / len(means)] * len(means)
    return [polarity != "none" and mean > 0.5 for mean in means]
