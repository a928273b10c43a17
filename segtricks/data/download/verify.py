"""What is wrong with a dataset: every file is opened, and what was found is named.

A fault keeps an image from being used, or makes it wrong; a note is worth knowing and changes nothing.
"""

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from torch import Tensor

from segtricks.data.boxes import ImageBoxes, read_voc_boxes
from segtricks.data.datasets.folder import ImageFolder, fits_list
from segtricks.data.datasets.published import PublishedDataset, count_difference
from segtricks.data.datasets.registry import PUBLISHED, create_dataset, is_photographs, open_dataset
from segtricks.data.datasets.voc import VOC07, VOC12
from segtricks.data.images import UnreadableImage
from segtricks.data.sample import SegmentationDataset
from segtricks.errors import UserError

FAULTS: Mapping[str, str] = {
    "image": "image that cannot be read",
    "mask": "mask that cannot be read",
    "boxes": "annotation that cannot be read",
    "size": "image and mask or annotation differ in size",
    "outside": "box outside its image, or without area",
    "no_mask": "image without a mask",
    "no_image": "mask without an image",
    "missing": "listed file that does not exist",
    "changed": "image that is not the one its mask was drawn on",
    "name": "name with control characters, or not UTF-8",
    "count": "number of images is not the published one",
}
NOTES: Mapping[str, str] = {
    "double": "not used: another file of this name is",
    "same_name": "images that differ in their suffix alone",
    "zero_one": "mask of 0 and 1, read as 0 and 255",
    "soft": "mask with values between 0 and 255",
    "colour": "mask in colour, read by its luminance",
    "empty": "mask without foreground",
    "full": "mask without background",
}
_SLACK = 1.0  # pixels; published boxes were rounded


class Finding(NamedTuple):
    """One thing found: ``kind`` is a key of ``FAULTS`` or ``NOTES``."""

    kind: str
    path: str
    detail: str = ""


class Checked(NamedTuple):
    """What was found about one image; ``values`` says what its mask holds, if it has a readable one."""

    findings: list[Finding]
    values: str | None


def open_whole(spec: str, root: str | Path, masks: str | Path | None = None) -> SegmentationDataset:
    """The dataset that :func:`open_dataset` would open, whatever its files lack; no part of one.

    Raises:
        UserError: No such dataset, or its folders are missing or empty.
    """
    if masks is not None and (spec in PUBLISHED or not is_photographs(Path(spec).expanduser())):
        raise UserError(f"--masks belongs to a folder or list of photographs, not to '{spec}': leave it out.")
    if spec in PUBLISHED:
        kind = PUBLISHED[spec]
        if issubclass(kind, PublishedDataset):
            return kind(root, max_unpaired=1.0)
        # Each XML file of VOC is opened with its image, so that a damaged one is one fault.
        return create_dataset(spec, root, require_masks=not issubclass(kind, (VOC07, VOC12)))
    if spec == "examples":
        return create_dataset(spec, root)
    if is_photographs(Path(spec).expanduser()):
        return ImageFolder(spec, masks, max_unpaired=1.0)
    open_dataset(spec, root, require_masks=False)
    raise UserError(f"'{spec}' has no files of its own to check: pass a whole published set, a folder or a list.")


def check_names(dataset: SegmentationDataset) -> list[Finding]:
    """What can be told without opening a file: names, partners, and files that are there twice."""
    left_out = getattr(dataset, "left_out", [])
    found = [Finding(why, str(path)) for path, why in left_out]
    found += [Finding("name", str(path)) for path in dataset.images if not fits_list(path)]
    stems = Counter(path.with_suffix("") for path in dataset.images)
    return found + [Finding("same_name", str(path)) for path in dataset.images if stems[path.with_suffix("")] > 1]


def check_count(dataset: SegmentationDataset) -> str:
    """How the number of images differs from the published one, or nothing."""
    expected = getattr(dataset, "expected", None)
    return "" if expected is None else count_difference(len(dataset), expected)


def check_item(dataset: SegmentationDataset, index: int) -> Checked:
    """Open an image with its mask and boxes."""
    path = dataset.images[index]
    found: list[Finding] = []
    size = values = None
    try:
        size = _size(dataset.read_image(index))
    except UnreadableImage as error:
        found.append(Finding("image", error.path, error.reason))
    try:
        mask = dataset.object_mask(index) if isinstance(dataset, (VOC07, VOC12)) else dataset.read_mask(index)
    except UnreadableImage as error:
        found.append(Finding("mask", error.path, error.reason))
        mask = None
    if mask is not None:
        if size is not None and _size(mask) != size:
            found.append(Finding("size", str(path), f"image {_text(size)}, mask {_text(_size(mask))}"))
        file = mask_file(dataset, index)
        values, notes = _values(mask, file)
        found += [Finding(kind, str(file or path), detail) for kind, detail in notes]
    try:
        boxes = _boxes(dataset, index)
    except UserError as error:
        found.append(Finding("boxes", str(path), str(error)))
        boxes = None
    if boxes is not None and size is not None:
        found += _check_boxes(path, size, boxes)
    return Checked(found, values)


def mask_file(dataset: SegmentationDataset, index: int) -> Path | None:
    """The file of an image's mask, if it has one to itself."""
    path = None if dataset.masks is None else dataset.masks[index]
    return None if path is None or path.suffix.lower() == ".json" else path


def common_folder(dataset: SegmentationDataset) -> Path:
    """The folder above all photographs and masks."""
    files = [*dataset.images, *(dataset.masks or []), *(path for path, _ in getattr(dataset, "left_out", []))]
    return Path(os.path.commonpath([path.parent.absolute() for path in files]))


def _values(mask: Tensor, file: Path | None) -> tuple[str, list[tuple[str, str]]]:
    """What a mask holds, in a word, and notes with their details."""
    notes: list[tuple[str, str]] = []
    mode, highest, coloured = _raw(file) if file is not None else ("L", 255, False)
    if coloured:
        notes.append(("colour", mode))
    lowest, top = int(mask.min()), int(mask.max())
    between = float(((mask != 0) & (mask != 255)).float().mean())
    if between:
        notes.append(("soft", f"{100 * between:.3g} % of its pixels"))
    if lowest == top:
        kind = "empty" if top < 128 else "full"
        notes.append((kind, f"all {top}"))
        return kind, notes
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


def _boxes(dataset: SegmentationDataset, index: int) -> ImageBoxes | None:
    if isinstance(dataset, (VOC07, VOC12)):
        return read_voc_boxes(dataset.folder / "Annotations" / f"{dataset.images[index].stem}.xml")
    return None if dataset.annotations is None else dataset.annotations[index]


def _check_boxes(path: Path, size: tuple[int, int], place: ImageBoxes) -> list[Finding]:
    found = []
    if tuple(place.size) != size:
        found.append(Finding("size", str(path), f"image {_text(size)}, annotation {_text(place.size)}"))
    height, width = size
    x0, y0, x1, y1 = place.boxes.unbind(1)
    outside = (x0 < -_SLACK) | (y0 < -_SLACK) | (x1 > width + _SLACK) | (y1 > height + _SLACK)
    wrong = int((outside | (x1 <= x0) | (y1 <= y0)).sum())
    if wrong:
        found.append(Finding("outside", str(path), f"{wrong} of {len(place.boxes)} boxes"))
    return found


def _size(pixels: Tensor) -> tuple[int, int]:
    return pixels.shape[1], pixels.shape[2]


def _text(size: tuple[int, int]) -> str:
    return f"{size[1]} x {size[0]}"
