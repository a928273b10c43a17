"""Score folders of masks, from any method: read, fitted and turned as the protocol says, several images at once."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from segtricks.data.boxes import ImageBoxes, find_boxes
from segtricks.data.images import UnreadableImage
from segtricks.data.mask_pairs import MaskPairs, Pair
from segtricks.data.orientation import Turns, is_turned, turn_boxes
from segtricks.errors import UserError
from segtricks.metrics import Protocol, SaliencySums
from segtricks.parallel import in_threads
from segtricks.scoring.evaluation import Evaluation
from segtricks.scoring.evaluator import SaliencyEvaluator, Target, Verdict
from segtricks.scoring.mask_reading import ONE_SIDED, Rules, one_sided, read_pair, read_prediction

ROW = "mask"


@dataclass
class FolderEvaluation:
    """The evaluation of a folder of masks.

    Args:
        evaluation: its only row is ``mask``.
        sums: of the measures, for curves.
        notes: how many files each note of ``mask_reading.NOTES`` holds for.
        files: by name of the image, prediction and target.
        rules: how their masks were read.
    """

    evaluation: Evaluation
    sums: SaliencySums
    rules: Rules
    notes: Counter[str] = field(default_factory=Counter)
    files: dict[str, tuple[Path, Path | None]] = field(default_factory=dict)


@dataclass(frozen=True)
class _How:
    rules: Rules
    turns: Turns


@dataclass
class _Read:
    pair: Pair
    prediction: Tensor
    target: Target
    notes: set[str]


@dataclass
class _Outcome:
    pair: Pair
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    notes: set[str] = field(default_factory=set)
    skipped: tuple[str, str] | None = None


def evaluate_folder(
    name: str,
    pairs: MaskPairs,
    protocol: Protocol,
    boxes: Mapping[str, ImageBoxes] | None = None,
    masks: bool = True,
    workers: int = 1,
    rules: Rules = Rules(),  # noqa: B008 - frozen
    turns: Turns | None = None,
) -> FolderEvaluation:
    """Score pairs by a protocol; a file that cannot be read is skipped.

    Args:
        name: of the folder, for the progress bar and the result.
        pairs: of ``mask_pairs``.
        protocol: every choice but batch norm applies.
        boxes: by file name, for CorLoc; None measures none.
        masks: measure masks, which all pairs then have.
        workers: threads.
        rules: how the masks are read.
        turns: how targets and boxes are turned as their photographs say; None turns nothing.

    Raises:
        UserError: nothing could be scored.
    """
    evaluator = SaliencyEvaluator(name, protocol, (ROW,), masks, boxes is not None)
    for path, reason in pairs.skipped:
        evaluator.skip(path, reason)
    step = protocol.turned_together
    groups = [pairs.found[start : start + step] for start in range(0, len(pairs.found), step)]

    reading = _How(rules, turns or Turns(None, "exif"))

    def work(group: Sequence[Pair]) -> list[_Outcome]:
        return list(_judged(group, evaluator, boxes or {}, reading))

    notes, files = Counter[str](), {}
    for outcomes in in_threads(work, groups, workers, name):
        for outcome in outcomes:
            notes.update(outcome.notes)
            if outcome.skipped is not None:
                evaluator.skip(*outcome.skipped)
                continue
            key, prediction, target = outcome.pair
            files[key] = prediction, target
            evaluator.take(key, outcome.verdicts)
    notes = Counter({key: count for key, count in notes.items() if key not in ONE_SIDED or count == len(files)})
    return FolderEvaluation(_scored(evaluator), evaluator.sums(ROW), rules, notes, files)


def _scored(evaluator: SaliencyEvaluator) -> Evaluation:
    if not evaluator.images:
        path, reason = evaluator.skipped[0]
        count = len(evaluator.skipped)
        raise UserError(f"None of {count:,} masks could be scored; the first, {path}: {reason}.")
    return evaluator.result()


def _judged(
    group: Iterable[Pair], evaluator: SaliencyEvaluator, boxes: Mapping[str, ImageBoxes], how: _How
) -> Iterator[_Outcome]:
    read: list[_Read] = []
    for pair in group:
        try:
            read.append(_read(pair, evaluator.protocol, boxes, how))
        except UnreadableImage as error:
            yield _Outcome(pair, skipped=(error.path, error.reason))
    turned = evaluator.protocol.turn([each.prediction for each in read])
    choices = evaluator.protocol
    for each, prediction in zip(read, turned, strict=True):
        notes = each.notes | one_sided(prediction, choices.threshold)
        if each.target.mask is not None:
            notes |= one_sided(each.target.mask, choices.target_threshold * 255, "target_")
        yield _Outcome(each.pair, evaluator.judge(each.target, {ROW: prediction}), notes)


def _read(pair: Pair, protocol: Protocol, boxes: Mapping[str, ImageBoxes], how: _How) -> _Read:
    name, prediction, target = pair
    photo = how.turns.photograph(name)
    orientation = photo.orientation if photo is not None and how.turns.orientation == "raw" else 1
    known = find_boxes(name, boxes)
    if known is not None and known.fault:
        raise UnreadableImage(prediction, known.fault)
    known = None if known is None else turn_boxes(known, orientation)
    own, size = (None, None) if known is None else (known.boxes, known.size)
    about: set[str] = {"no_box"} if own is not None and not len(own) else set()
    if target is None:
        soft, notes = read_prediction(prediction, how.rules.predictions)
        _check_turn(prediction, soft, size)
        return _Read(pair, soft[None].double() / 255, Target(name, None, own, size), notes | about)
    mask, truth, notes = read_pair(prediction, target, protocol, how.rules, orientation)
    _check_turn(prediction, truth, size)
    if photo is not None and orientation == 1 and photo.orientation in range(2, 9):
        notes.add("target_turned")
    return _Read(pair, mask, Target(name, truth, own, size), notes | about)


def _check_turn(prediction: Path, mask: Tensor, size: tuple[int, int] | None) -> None:
    """Raise an ``UnreadableImage`` where boxes belong to an image turned by a quarter."""
    height, width = mask.shape[-2:]
    if size is not None and is_turned((height, width), size):
        reason = f"the image is {width} x {height} pixels, its annotation {size[1]} x {size[0]} (width x height)"
        raise UnreadableImage(prediction, reason)
