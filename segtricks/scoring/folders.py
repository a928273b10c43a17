"""Score folders of masks, from any method: read, fitted and turned as the protocol says, several images at once."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from segtricks.data.boxes import ImageBoxes
from segtricks.data.images import UnreadableImage
from segtricks.data.sample import SegmentationDataset
from segtricks.errors import UserError
from segtricks.metrics import Protocol, SaliencyScores
from segtricks.parallel import in_threads
from segtricks.scoring.evaluation import Evaluation
from segtricks.scoring.evaluator import SaliencyEvaluator, Target, Verdict
from segtricks.scoring.mask_pairs import Pair, Pairs
from segtricks.scoring.mask_reading import fitted, read_pair, read_prediction

Refine = Callable[[Tensor, Tensor], Tensor]
"""From a mask (1, 1, H, W) and its image in [0, 1] to the refined mask."""

ROW = "mask"


@dataclass
class FolderEvaluation:
    """The evaluation of a folder of masks.

    Args:
        evaluation: its only row is ``mask``.
        sums: of the measures, for curves.
        notes: how many files each note of ``mask_reading.NOTES`` holds for.
        files: by name of the image, prediction and target.
    """

    evaluation: Evaluation
    sums: SaliencyScores
    notes: Counter[str] = field(default_factory=Counter)
    files: dict[str, tuple[Path, Path | None]] = field(default_factory=dict)


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
    pairs: Pairs,
    protocol: Protocol,
    boxes: Mapping[str, ImageBoxes] | None = None,
    masks: bool = True,
    workers: int = 1,
) -> FolderEvaluation:
    """Score pairs by a protocol; a file that cannot be read is skipped.

    Args:
        name: of the folder, for the progress bar and the result.
        pairs: of ``mask_pairs``.
        protocol: every choice but batch norm applies.
        boxes: by file name, for CorLoc; None measures none.
        masks: measure masks, which all pairs then have.
        workers: threads.

    Raises:
        UserError: nothing could be scored.
    """
    evaluator = SaliencyEvaluator(name, protocol, (ROW,), masks, boxes is not None)
    for path, reason in pairs.skipped:
        evaluator.skip(path, reason)
    step = protocol.turned_together
    groups = [pairs.found[start : start + step] for start in range(0, len(pairs.found), step)]

    def work(group: Sequence[Pair]) -> list[_Outcome]:
        return list(_judged(group, evaluator, boxes or {}))

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
    return FolderEvaluation(_scored(evaluator), evaluator.sums(ROW), notes, files)


def evaluate_dataset(
    dataset: SegmentationDataset,
    masks: Sequence[Path | None],
    protocol: Protocol,
    rows: Mapping[str, Refine | None],
    workers: int = 1,
) -> Evaluation:
    """Score someone's masks for the photographs of a data set, plain and refined.

    Args:
        dataset: with masks.
        masks: the mask of each photograph, None where there is none.
        protocol: no polarity is applied.
        rows: by name, what refines the mask, at the size that is scored; None leaves it as it is.
        workers: threads.

    Raises:
        UserError: nothing could be scored.
    """
    evaluator = SaliencyEvaluator(dataset.name, protocol, tuple(rows))

    def work(index: int) -> dict[str, Verdict] | tuple[str, str]:
        path, mask = str(dataset.images[index]), masks[index]
        if mask is None:
            return path, "no mask of this name"
        try:
            soft, photo, truth = _read_sample(dataset, index, mask, protocol)
            predictions = {row: _refined(refine, soft, photo) for row, refine in rows.items()}
        except UnreadableImage as error:
            return error.path, error.reason
        except ValueError as error:
            return str(mask), f"cannot be refined: {error}"
        return evaluator.judge(Target(path, truth), predictions)

    outcomes = in_threads(work, range(len(dataset)), workers, dataset.name)
    for path, outcome in zip(dataset.images, outcomes, strict=True):
        if isinstance(outcome, tuple):
            evaluator.skip(*outcome)
        else:
            evaluator.take(str(path), outcome)
    return _scored(evaluator)


def _refined(refine: Refine | None, soft: Tensor, photo: Tensor) -> Tensor:
    return soft if refine is None else refine(soft, photo).clamp(0, 1)


def _scored(evaluator: SaliencyEvaluator) -> Evaluation:
    if not evaluator.images:
        path, reason = evaluator.skipped[0]
        count = len(evaluator.skipped)
        raise UserError(f"None of {count:,} masks could be scored; the first, {path}: {reason}.")
    return evaluator.result()


def _judged(group: Iterable[Pair], evaluator: SaliencyEvaluator, boxes: Mapping[str, ImageBoxes]) -> Iterator[_Outcome]:
    read: list[_Read] = []
    for pair in group:
        try:
            read.append(_read(pair, evaluator.protocol, boxes))
        except UnreadableImage as error:
            yield _Outcome(pair, skipped=(error.path, error.reason))
    turned = evaluator.protocol.turn([each.prediction for each in read])
    for each, prediction in zip(read, turned, strict=True):
        yield _Outcome(each.pair, evaluator.judge(each.target, {ROW: prediction}), each.notes)


def _read(pair: Pair, protocol: Protocol, boxes: Mapping[str, ImageBoxes]) -> _Read:
    name, prediction, target = pair
    known = boxes.get(Path(name).name)
    own, size = (None, None) if known is None else (known.boxes, known.size)
    if target is None:
        soft, notes = read_prediction(prediction)
        return _Read(pair, soft[None].double() / 255, Target(name, None, own, size), notes)
    mask, truth, notes = read_pair(prediction, target, protocol)
    return _Read(pair, mask, Target(name, truth, own, size), notes)


def _read_sample(
    dataset: SegmentationDataset, index: int, mask: Path, protocol: Protocol
) -> tuple[Tensor, Tensor, Tensor]:
    """Mask (1, 1, H, W) in [0, 1], photograph (1, 3, H, W) in [0, 1] and target (1, 1, H, W) uint8, as scored."""
    sample = dataset[index]
    photo, truth = sample["image"], sample["target"]
    assert isinstance(truth, Tensor)
    soft, _ = read_prediction(mask)
    if protocol.crop is not None:
        photo = protocol.crop(photo)
    probs, truth = fitted(soft, truth, protocol, torch.float32)
    return probs, photo[None].float() / 255, truth
