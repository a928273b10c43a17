"""Masks from anywhere, read by fixed rules; what is unusual about a file is counted and reported once.

A file whose largest value is exactly 1 is a 0/1 mask. Colour is read by its luminance. Values between, such as those
of a JPEG or of a soft target, are kept for the protocol to cut. A prediction of another size is brought to the
target's by the protocol's interpolation.
"""

from pathlib import Path

from PIL import Image
from torch import Tensor

from segtricks.data.images import read_mask
from segtricks.metrics import Protocol

PREDICTION_NOTES = {
    "zero_one": "predictions hold 0 and 1 alone and were read as 0 and 255",
    "colour": "predictions are in colour and were read by their luminance",
    "resized": "predictions differ from their target in size and were resized",
}
TARGET_NOTES = {
    "target_zero_one": "targets hold 0 and 1 alone and were read as 0 and 255",
    "target_colour": "targets are in colour and were read by their luminance (classes: make masks of 0 and 255)",
    "target_between": "targets hold values other than 0 and 255, cut by the protocol's target_threshold",
}
NOTES = PREDICTION_NOTES | TARGET_NOTES


def read_pair(prediction: Path, target: Path, protocol: Protocol) -> tuple[Tensor, Tensor, set[str]]:
    """Read and fit one pair.

    Returns:
        Probabilities (1, 1, H, W) float64, the target (1, 1, H, W) uint8, and keys of ``NOTES``.

    Raises:
        UnreadableImage: either file cannot be read.
    """
    soft, notes = read_prediction(prediction)
    truth = read_mask(target)
    odd = _oddities(target, truth)
    notes |= {f"target_{name}" for name in odd}
    if _between(truth):
        notes.add("target_between")
    if protocol.crop is None and soft.shape[-2:] != truth.shape[-2:]:
        notes.add("resized")
    if (crop := protocol.crop) is not None:
        truth = crop(truth)
        # A prediction that has the crop's size already is taken for the crop's.
        soft = soft if soft.shape == truth.shape else crop(soft)
    return protocol.fit(soft[None].double() / 255, truth.shape[-2:]), truth[None], notes


def read_prediction(path: Path) -> tuple[Tensor, set[str]]:
    """Read a prediction, (1, H, W) uint8, and keys of ``PREDICTION_NOTES``.

    Raises:
        UnreadableImage: it cannot be read.
    """
    soft = read_mask(path)
    return soft, _oddities(path, soft)


def _between(mask: Tensor) -> bool:
    # One more than each value, modulo 256: 255 becomes 0 and 0 becomes 1.
    return bool((mask + 1).max() > 1)


def _oddities(path: Path, mask: Tensor) -> set[str]:
    found = set()
    with Image.open(path) as image:
        if image.mode not in ("1", "L", "F", "I") and not image.mode.startswith("I;16"):
            found.add("colour")
        # Only a second look separates 0/1 from 0/255 once both are read as 0/255.
        elif image.mode != "1" and mask.max() == 255 and not _between(mask) and image.getextrema()[1] == 1:
            found.add("zero_one")
    return found
