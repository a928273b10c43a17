"""Faults of a dataset's files, found by opening every one of them.

A fault keeps an image from being used, or makes it wrong; a note is worth knowing and changes nothing.
"""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from PIL import Image
from torch import Tensor

from segtricks.data.datasets.classed import ClassedDataset
from segtricks.data.datasets.folder import ImageFolder, fits_list
from segtricks.data.datasets.published import PairedDataset, count_difference
from segtricks.data.datasets.registry import PUBLISHED, attach_boxes, create_dataset, is_photographs, open_dataset
from segtricks.data.datasets.voc import VOC
from segtricks.data.datasets.voc_labels import VOC12Labels
from segtricks.data.images import Stored, UnreadableImage, read_stored
from segtricks.data.mask_values import MaskRule
from segtricks.data.pairing import LeftOut
from segtricks.data.sample import SegmentationDataset
from segtricks.errors import UserError

FAULTS = {
    "values": "values that do not say what is foreground",
    "image": "image that cannot be read",
    "mask": "mask that cannot be read",
    "boxes": "annotation that cannot be used",
    "annotation": "annotations that make no sense",
    "size": "image and mask or annotation differ in size",
    "orientation": "mask or annotation of the size that its image has as stored: --orientation raw turns it",
    "outside": "box outside its image, or without area",
    "dark": "image of 16 bits whose values need 12 at most: it is read as nearly black",
    "no_mask": "image without a mask",
    "no_boxes": "image without an annotation",
    "no_image": "mask without an image",
    "missing": "listed file that does not exist",
    "changed": "image that is not the one its mask was drawn on",
    "name": "name with control characters, or not UTF-8",
    "count": "number of images is not the published one",
}
NOTES = {
    "all_empty": "all masks are without foreground",
    "all_full": "all masks are without background",
    "reading": "read by a rule for all files",
    "double": "not used: another file of this name is",
    "same_name": "images that differ in their suffix alone",
    "turned": "EXIF orientation, and no size tells whether its mask was drawn before or after: --orientation",
    "transparent": "image whose alpha is 0 everywhere, read by its colours",
    "zero_one": "mask of 0 and 1, read as 0 and 255",
    "soft": "mask with values between 0 and 255",
    "colour": "mask in colour, read by its luminance",
    "empty": "mask without foreground",
    "full": "mask without background",
}
Opened = TypeVar("Opened")

_SLACK = 1.0  # pixels; published boxes were rounded


class Finding(NamedTuple):
    """A fault or note; ``kind`` is a key of ``FAULTS`` or ``NOTES``."""

    kind: str
    path: str
    detail: str = ""


class Checked(NamedTuple):
    """Findings about one image, and in a word the values of its mask, if it has a readable one."""

    findings: list[Finding]
    values: str | None


def open_whole(
    spec: str, root: str | Path, masks: str | Path | None = None, boxes: str | Path | None = None
) -> SegmentationDataset:
    """The whole dataset that :func:`open_dataset` would open, also where some of its files are missing.

    Raises:
        UserError: No such dataset, or its folders are missing or empty.
    """
    photographs = spec not in PUBLISHED and is_photographs(Path(spec).expanduser())
    for name, given in (("masks", masks), ("boxes", boxes)):
        if given is not None and not photographs:
            raise UserError(f"--{name} belongs to a folder or list of photographs, not to '{spec}': leave it out.")
    if photographs:
        dataset = ImageFolder(spec, masks, max_unpaired=1.0)
        return dataset if boxes is None else _with_boxes(dataset, boxes)
    if spec == "examples":
        return create_dataset(spec, root)
    if spec not in PUBLISHED:
        open_dataset(spec, root, require_masks=False)
        raise UserError(f"'{spec}' has no files of its own to check: pass a whole published set, a folder or a list.")
    kind = PUBLISHED[spec]
    return kind(root, max_unpaired=1.0) if issubclass(kind, PairedDataset) else create_dataset(spec, root)


def _with_boxes(dataset: ImageFolder, boxes: str | Path) -> ImageFolder:
    chosen = attach_boxes(dataset, boxes)
    used = set(chosen.images)
    chosen.left_out = dataset.left_out + [LeftOut(path, "no_boxes") for path in dataset.images if path not in used]
    return chosen


def check_reading(dataset: SegmentationDataset) -> list[Finding]:
    """Look at every file to decide how all are read; what is unusual, and what is wrong with files of annotations.

    Masks of classes, of which it was not said which are foreground, are then read as if all were.
    """
    reading = dataset.reading
    reading.options, reading.sample = "--", max(1, len(dataset))
    folder, found = str(common_folder(dataset)), []
    try:
        dataset.decide_reading()
        lines = reading.lines(dataset.masks is not None, False)
    except UserError as error:
        found.append(Finding("values", folder, str(error).replace("\n", " ")))
        lines = reading.lines(False, False)
        reading.read_all_classes()
    found += [Finding("reading", folder, line) for line in lines]
    return found + [Finding("annotation", str(each.path), line) for each in dataset.problems for line in each.lines()]


def check_names(dataset: SegmentationDataset) -> list[Finding]:
    """Faults of names, missing partners, and files that are there twice; no file is opened."""
    found = [Finding(why, str(path)) for path, why in getattr(dataset, "left_out", [])]
    found += [Finding("name", str(path)) for path in dataset.images if not fits_list(path)]
    stems = Counter(path.with_suffix("") for path in dataset.images)
    return found + [Finding("same_name", str(path)) for path in dataset.images if stems[path.with_suffix("")] > 1]


def check_count(dataset: SegmentationDataset) -> str:
    """How the number of images differs from the published one, or nothing."""
    expected = getattr(dataset, "expected", None)
    return "" if expected is None else count_difference(len(dataset), expected)


def check_item(dataset: SegmentationDataset, index: int) -> Checked:
    """Open an image with its mask and boxes."""
    path = str(dataset.images[index])
    found: list[Finding] = []

    def opened(kind: str, read: Callable[[int], Opened]) -> Opened | None:
        try:
            return read(index)
        except UnreadableImage as error:
            found.append(Finding(kind, error.path, error.reason))
        except UserError as error:
            found.append(Finding(kind, path, str(error)))
        return None

    values = None
    image = opened("image", dataset.read_image)
    stored = None if image is None else read_stored(dataset.images[index])
    mask = opened("mask", dataset.object_mask if isinstance(dataset, VOC) else dataset.read_mask)
    if mask is not None:
        found += _size_findings(dataset, path, image, stored, "mask", mask.shape[1:])
        file = mask_file(dataset, index)
        guessed = dataset.reading.guessed
        values, notes = ("classes", []) if guessed else _values(mask, file, dataset.reading.masks)
        found += [Finding(kind, str(file or path), detail) for kind, detail in notes]
    for kind in dataset.target_kinds if isinstance(dataset, ClassedDataset) else ():
        opened("mask", dataset.with_targets(kind).read_target)
    boxes = opened("boxes", dataset.read_annotation)
    if boxes is not None and image is not None:
        found += _size_findings(dataset, path, image, stored, "annotation", boxes.size)
        found += _outside(path, image.shape[1], image.shape[2], boxes.boxes)
    if stored is not None:
        found += _oddities(path, stored, dataset.white)
    return Checked(found, values)


def _size_findings(
    dataset: SegmentationDataset, path: str, image: Tensor | None, stored: Stored | None, of: str, size: Sequence[int]
) -> list[Finding]:
    """Compare the size of an image, before and after it is turned upright, with that of its mask or annotation."""
    if image is None or stored is None:
        return []
    upright, raw, turned = tuple(image.shape[1:]), stored.size, stored.orientation in range(2, 9)
    as_stored = dataset.reading.orientation == "raw"
    if upright == tuple(size):
        unclear = turned and raw == upright and not as_stored
        return [Finding("turned", path, f"{stored.orientation}, of the size of its {of}")] if unclear else []
    detail = f"image {_text(upright)}, {of} {_text(size)}"
    if turned and raw == tuple(size) and not as_stored:
        return [Finding("orientation", path, f"{detail}, EXIF orientation {stored.orientation}")]
    return [Finding("size", path, detail)]


def _oddities(path: str, stored: Stored, white: int) -> list[Finding]:
    dark = stored.low_colour or (white == 65535 and 0 < stored.highest <= 4095)
    low = [Finding("dark", path)] if dark else []
    return low + ([Finding("transparent", path)] if stored.transparent else [])


def mask_file(dataset: SegmentationDataset, index: int) -> Path | None:
    """The file that holds nothing but an image's mask, if there is one."""
    path = None if dataset.masks is None or isinstance(dataset, VOC12Labels | ClassedDataset) else dataset.masks[index]
    return None if path is None or path.suffix.lower() == ".json" else path


def common_folder(dataset: SegmentationDataset) -> Path:
    """The folder above all photographs and masks."""
    files = [*dataset.images, *(dataset.masks or []), *(path for path, _ in getattr(dataset, "left_out", []))]
    return Path(os.path.commonpath([path.parent.absolute() for path in files]))


def _values(mask: Tensor, file: Path | None, rule: MaskRule) -> tuple[str, list[tuple[str, str]]]:
    """What a mask holds, in a word, and notes with their details."""
    notes: list[tuple[str, str]] = []
    mode, highest, coloured = _raw(file) if file is not None else ("L", 255, False)
    if coloured and (rule.source == "luminance" or (rule.source == "gray" and not rule.foreground)):
        notes.append(("colour", mode))
    lowest, top = int(mask.min()), int(mask.max())
    between = float(((mask != 0) & (mask != 255)).float().mean())
    if between:
        notes.append(("soft", f"{100 * between:.3g} % of its pixels"))
    if lowest == top:
        kind = "empty" if top < 128 else "full"
        notes.append((kind, f"all {top}"))
        return kind, notes
    if rule.foreground or rule.source == "palette":
        return "classes", notes
    if between:
        return "soft", notes
    if highest == 1 and mode != "1":
        notes.append(("zero_one", ""))
        return "0/1", notes
    return "0/255", notes


def _raw(file: Path) -> tuple[str, float, bool]:
    """Mode and highest value as stored, and whether any pixel is coloured."""
    with Image.open(file) as image:
        if image.mode in ("1", "L", "I", "F") or image.mode.startswith("I;16"):
            extrema: Any = image.getextrema()
            return image.mode, extrema[1], False
        return image.mode, 255, bool(np.ptp(np.asarray(image.convert("RGB")), axis=2).any())


def _outside(path: str, height: int, width: int, boxes: Tensor) -> list[Finding]:
    x0, y0, x1, y1 = boxes.unbind(1)
    outside = (x0 < -_SLACK) | (y0 < -_SLACK) | (x1 > width + _SLACK) | (y1 > height + _SLACK)
    wrong = int((outside | (x1 <= x0) | (y1 <= y0)).sum())
    return [Finding("outside", path, f"{wrong} of {len(boxes)} boxes")] if wrong else []


def _text(size: Sequence[int]) -> str:
    return f"{size[1]} x {size[0]}"
