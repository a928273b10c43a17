"""Masks from anywhere, read by one rule for each folder; what is unusual is counted and reported once.

Colour is read by its luminance. Values between, such as those of a JPEG or of a soft target, are kept for the protocol
to cut. A prediction of another size is brought to the target's by the protocol's interpolation.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from segtricks.data.images import RawMask, UnreadableImage
from segtricks.data.mask_values import MaskRule
from segtricks.data.orientation import is_turned, turn
from segtricks.metrics import Protocol

PREDICTION_NOTES = {
    "zero_one": "predictions hold 0 and 1 alone and were read as 0 and 255",
    "colour": "predictions are in colour and were read by their luminance",
    "alpha": "predictions are cut-outs and were read by their alpha",
    "palette": "predictions are label maps, of which every class was read as foreground",
    "border": "predictions hold 255 among classes, which was read as background",
    "depth": "predictions of 16 bits hold values of fewer bits and were read on that scale",
    "resized": "predictions differ from their target in size and were resized",
    "no_box": "images have no box, and any mask of theirs counts as a miss",
}
TARGET_NOTES = {
    "target_zero_one": "targets hold 0 and 1 alone and were read as 0 and 255",
    "target_colour": "targets are in colour and were read by their luminance (classes: make masks of 0 and 255)",
    "target_alpha": "targets are cut-outs and were read by their alpha",
    "target_palette": "targets are label maps, of which every class was read as foreground",
    "target_border": "targets hold 255 among classes, whose pixels were not scored",
    "target_depth": "targets of 16 bits hold values of fewer bits and were read on that scale",
    "target_turned": "targets belong to photographs with an EXIF orientation, and no size tells whether they were "
    "drawn on the upright photograph: pass --orientation raw where they were not",
    "target_between": "targets hold values other than 0 and 255, cut by the protocol's target_threshold",
}
ONE_SIDED = {
    "all_empty": "predictions, all of them, have no foreground",
    "all_full": "predictions, all of them, are foreground everywhere",
    "target_all_empty": "targets, all of them, have no foreground",
    "target_all_full": "targets, all of them, are foreground everywhere",
}
"""Notes on whole folders: figures of such masks say nothing."""
NOTES = PREDICTION_NOTES | TARGET_NOTES | ONE_SIDED


@dataclass(frozen=True)
class Rules:
    """How the masks of the two folders are read."""

    predictions: MaskRule = field(default_factory=MaskRule)
    targets: MaskRule = field(default_factory=MaskRule)


def read_pair(
    prediction: Path, target: Path, protocol: Protocol, rules: Rules, orientation: int = 1
) -> tuple[Tensor, Tensor, set[str]]:
    """Read and fit one pair. Pixels that are not scored are background in both.

    ``orientation`` is the EXIF orientation of the photograph on whose stored pixels the target was drawn.

    Returns:
        Probabilities (1, 1, H, W) float64, the target (1, 1, H, W) uint8, and keys of ``NOTES``.

    Raises:
        UnreadableImage: either file cannot be read, or one is turned by a quarter.
    """
    soft, notes = read_prediction(prediction, rules.predictions)
    truth, ignored, raw = rules.targets.read(target)
    truth, ignored = turn(truth, orientation), turn(ignored, orientation)
    check_turn(prediction, soft, truth.shape[-2:], "its target")
    notes |= {f"target_{name}" for name in _oddities(raw, rules.targets)}
    if _between(truth):
        notes.add("target_between")
    if protocol.crop is None and soft.shape[-2:] != truth.shape[-2:]:
        notes.add("resized")
    if (crop := protocol.crop) is not None:
        truth, ignored = crop(truth), crop(ignored.to(torch.uint8) * 255) > 127
        # A prediction that has the crop's size already is taken for the crop's.
        soft = soft if soft.shape == truth.shape else crop(soft)
    pred = protocol.fit(soft[None].double().div_(255), truth.shape[-2:])
    if ignored.count_nonzero():
        pred = pred.masked_fill(ignored[None], 0)
    return pred, truth[None], notes


def read_prediction(path: Path, rule: MaskRule) -> tuple[Tensor, set[str]]:
    """Read a prediction, (1, H, W) uint8, and keys of ``PREDICTION_NOTES``.

    Raises:
        UnreadableImage: it cannot be read.
    """
    soft, _, raw = rule.read(path)
    return soft, _oddities(raw, rule)


def check_turn(path: Path, mask: Tensor, size: Sequence[int], of: str) -> None:
    """Raise an ``UnreadableImage`` where a mask (…, H, W) has the ``size`` turned by a quarter.

    ``of`` says whose size it is.
    """
    height, width = mask.shape[-2:]
    if is_turned((height, width), (size[0], size[1])):
        sizes = f"{width} x {height} pixels, {of} {size[1]} x {size[0]} (width x height)"
        why = "one of both is turned by a quarter, perhaps by the EXIF orientation of the photograph"
        raise UnreadableImage(path, f"is {sizes}: {why}")


def one_sided(mask: Tensor, threshold: float, what: str = "") -> set[str]:
    """Return the key of ``ONE_SIDED`` that a folder of such masks would get; ``what`` begins it."""
    inside = int((mask > threshold).count_nonzero())
    if inside == 0:
        return {f"{what}all_empty"}
    return {f"{what}all_full"} if inside == mask.numel() else set()


def _between(mask: Tensor) -> bool:
    # One more than each value, modulo 256: 255 becomes 0 and 0 becomes 1.
    return bool((mask + 1).max() > 1)


def _oddities(raw: RawMask, rule: MaskRule) -> set[str]:
    if rule.source == "palette" and 255 in rule.ignore and (raw.levels == 255).any():
        return {"palette", "border"}
    if rule.source in ("alpha", "palette"):
        return {rule.source}
    if raw.kind == "palette":
        return set()
    if raw.kind == "colour":
        return {"colour"}
    if rule.white == 1 and raw.levels.max() == raw.one:
        return {"zero_one"}
    return {"depth"} if raw.white == 65535 and rule.white not in (1, 65535) else set()
