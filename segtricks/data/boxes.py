"""Ground-truth boxes of VOC and COCO files, as half-open pixels.

A box that makes no sense is not used, and its image is scored by the others; an image that has none left, or whose size
is not known, is set aside by name. What holds for a file as a whole is decided for it: boxes of which all lie in 0..1
are shares of their image, and boxes that leave their images as x, y, width, height and fit as x0, y0, x1, y1 are these.
"""

import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segtricks.data.coco import CocoImage, as_number, by_name, read_coco, size_or_fault
from segtricks.data.pairing import spellings
from segtricks.data.problems import Problems
from segtricks.errors import UserError

_SLACK = 1.0  # pixels; published boxes were rounded

Form = Literal["sides", "corners", "voc"]
"""x, y, width, height; x0, y0, x1, y1; or the same counted from 1, the last pixel included."""


@dataclass(frozen=True)
class ImageBoxes:
    """Boxes of one image: its height and width, and (n, 4) float64, half-open x0, y0, x1, y1, in pixels.

    ``fault`` is why they cannot be used, in a few words.
    """

    size: tuple[int, int]
    boxes: Tensor
    fault: str = ""


class Boxes(dict[str, ImageBoxes]):
    """Boxes by the name of their image, and what is wrong with them.

    The name is the stem of the file's name, or its path without suffix where several images share the stem.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.problems = Problems(path)

    def usable(self) -> "Boxes":
        """Return itself; a ``UserError`` where no image can be used."""
        faults = {name: each.fault for name, each in self.items() if each.fault}
        if len(faults) == len(self):
            name, fault = next(iter(faults.items()), (self.problems.path, "it lists no image"))
            raise UserError(
                f"{self.problems.path}: the boxes of none of its {len(self):,} images are usable; {name}: {fault}.\n"
                "Next: pass the Annotations folder of VOC, or a COCO JSON file."
            )
        return self


@dataclass
class _Stated:
    """Boxes of an image as its file states them."""

    size: tuple[int, int]
    fault: str = ""
    names: list[str] = field(default_factory=list)
    boxes: list[list[float]] = field(default_factory=list)
    unusable: int = 0

    def array(self) -> NDArray[np.float64]:
        return np.array(self.boxes, np.float64).reshape(-1, 4)


def read_boxes(path: str | Path, hard: bool = True) -> Boxes:
    """Read the boxes of every image.

    VOC counts pixels from 1 and includes the last: 1 is subtracted from xmin and ymin alone. COCO's crowds are left
    out.

    Args:
        path: a folder of VOC XML files (``Annotations``), or a COCO JSON file.
        hard: keep VOC's difficult and truncated objects.

    Raises:
        UserError: there is no such file or folder, it is of another format, or no image of it can be used.
    """
    path = Path(path)
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix.lower() == ".xml" and file.name[0] != ".")
        if not files:
            raise UserError(f"No XML files in {path}: pass the Annotations folder of VOC, or a COCO JSON file.")
        return read_voc_boxes(path, files, hard).usable()
    if path.is_file():
        return read_coco_boxes(path).usable()
    raise UserError(f"No boxes at {path}: pass the Annotations folder of VOC, or a COCO JSON file.")


def read_voc_boxes(folder: Path, files: Iterable[Path], hard: bool = True) -> Boxes:
    """Boxes of VOC XML files of a folder, by the stem of these; see :func:`read_boxes`."""
    found = Boxes(folder)
    stated = {file.stem: _read_xml(file, hard, found.problems) for file in files}
    return _fill(found, stated, "voc")


def read_coco_boxes(path: Path, stems: Container[str] | None = None) -> Boxes:
    """Boxes of a COCO JSON file, of all images or of those with these stems; see :func:`read_boxes`."""
    found = Boxes(path)
    images, found.problems = read_coco(path)
    named = by_name(image for image in images if stems is None or PurePosixPath(image.name).stem in stems)
    counts = Counter(PurePosixPath(name).name for name in named)
    stated = {}
    for name, image in named.items():
        stem = PurePosixPath(name).name
        stated[stem if counts[stem] == 1 else name] = _state_coco(image, found.problems)
    return _fill(found, stated, "sides")


def find_boxes(name: str, boxes: Mapping[str, ImageBoxes]) -> ImageBoxes | None:
    """Return the boxes of an image: those of the longest end of its path without suffix."""
    parts = PurePosixPath(name).parts
    ends = ("/".join(parts[start:]) for start in range(len(parts)))
    spelled = (spelling for end in ends for spelling in spellings(end))
    return next((boxes[end] for end in spelled if end in boxes), None)


def _read_xml(file: Path, hard: bool, problems: Problems) -> _Stated:
    try:
        root = ElementTree.parse(file).getroot()
        for element in root.iter():
            element.tag = element.tag.rpartition("}")[2].lower()  # some tools write BndBox, or a namespace before it
    except (ElementTree.ParseError, ValueError, LookupError, OSError) as error:
        return _Stated((0, 0), f"{file} is not a VOC annotation: {error}")
    size, fault = size_or_fault(root.findtext("size/height"), root.findtext("size/width"))
    stated = _Stated(size, f"{fault} in {file}" if fault else "")
    for number, item in enumerate(root.iter("object"), 1):
        if not hard and "1" in (item.findtext("difficult", "0").strip(), item.findtext("truncated", "0").strip()):
            continue
        sides = [item.findtext(f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")]
        _add(stated, sides, f"{file.name}, object {number}", problems)
    return stated


def _state_coco(image: CocoImage, problems: Problems) -> _Stated:
    stated = _Stated(image.size, image.fault)
    for item in image.objects:
        box, name = item.get("bbox"), f"{item.get('id')} of {image.name}"
        if _add(stated, box, name, problems) and any(isinstance(side, str) for side in box or ()):
            problems.add("boxes of texts, read as numbers", name)
    return stated


def _add(stated: _Stated, box: Any, name: str, problems: Problems) -> bool:
    """Add a box, unless it is not four finite numbers or its image cannot be used; say whether."""
    if stated.fault:
        return False
    sides = [as_number(side) for side in box] if isinstance(box, list) else []
    numbers = [side for side in sides if side is not None]
    if len(sides) == len(numbers) == 4:
        stated.names.append(name)
        stated.boxes.append(numbers)
        return True
    stated.unusable += 1
    problems.add("annotations without a box of four finite numbers, not used", name)
    return False


def _fill(found: Boxes, stated: dict[str, _Stated], form: Form) -> Boxes:
    """Bring the boxes of a file to half-open corners in pixels, without those that make no sense."""
    arrays = {name: each.array() for name, each in stated.items() if each.boxes}
    listed = [box for name in arrays for box in stated[name].names]
    if _are_shares(arrays.values()):
        found.problems.add_all("boxes in 0..1, read as shares of their image", listed)
        arrays = {name: boxes * np.tile(stated[name].size[::-1], 2) for name, boxes in arrays.items()}
        form = "corners" if form == "voc" else form
    if form == "sides" and _are_corners([(boxes, stated[name].size) for name, boxes in arrays.items()]):
        what = "boxes read as x0, y0, x1, y1, since most leave their image as x, y, width, height"
        found.problems.add_all(what, listed)
        form = "corners"
    for name, each in stated.items():
        corners = _corners(arrays.get(name, np.empty((0, 4))), form)
        found[name] = _sensible(each, corners, found.problems)
    return found


def _are_shares(arrays: Iterable[NDArray[np.float64]]) -> bool:
    boxes = [each for each in arrays if len(each)]
    inside = bool(boxes) and all(each.min() >= 0 and each.max() <= 1 for each in boxes)
    return inside and any((each % 1).any() for each in boxes)


def _are_corners(images: Sequence[tuple[NDArray[np.float64], tuple[int, int]]]) -> bool:
    """Whether half of the boxes, and two at least, leave their image as sides, and none does as corners."""
    count = leaving = 0
    for boxes, size in images:
        if _leaves(boxes, size).any() or (boxes[:, 2:] <= boxes[:, :2]).any():
            return False
        count += len(boxes)
        leaving += int(_leaves(_corners(boxes, "sides"), size).sum())
    return leaving >= max(2, count / 2)


def _corners(boxes: NDArray[np.float64], form: Form) -> NDArray[np.float64]:
    if form == "voc":
        return boxes - [1, 1, 0, 0]
    return boxes if form == "corners" else np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def _leaves(corners: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Which boxes leave their image by more than the slack."""
    height, width = size
    low = (corners[:, :2] < -_SLACK).any(axis=1)
    return low | (corners[:, 2] > width + _SLACK) | (corners[:, 3] > height + _SLACK)


def _sensible(stated: _Stated, corners: NDArray[np.float64], problems: Problems) -> ImageBoxes:
    """Boxes that can be used, cut to the image where they leave it by more than the slack."""
    height, width = stated.size
    leaves = _leaves(corners, stated.size)
    wrong = np.zeros(len(corners), bool)
    for what, these in (
        ("boxes without area, not used", (corners[:, 2:] <= corners[:, :2]).any(axis=1)),
        ("boxes within a single pixel, as if in 0..1, not used", _are_tiny(corners)),
        ("boxes outside of their image, not used", _are_outside(corners, stated.size)),
    ):
        problems.add_all(what, [stated.names[i] for i in np.flatnonzero(these & ~wrong)])
        wrong |= these
    cut = leaves & ~wrong
    problems.add_all(
        "boxes that leave their image by more than a pixel, cut to it", [stated.names[i] for i in np.flatnonzero(cut)]
    )
    clipped = np.clip(corners, 0, [width, height, width, height])
    boxes = torch.from_numpy(np.where(cut[:, None], clipped, corners)[~wrong])
    fault = stated.fault
    if not fault and not len(boxes) and (stated.unusable or len(corners)):
        fault = f"none of its {stated.unusable + len(corners)} boxes is usable"
    return ImageBoxes(stated.size, boxes, fault)


def _are_tiny(corners: NDArray[np.float64]) -> NDArray[np.bool_]:
    return (corners[:, 2:] <= 1).all(axis=1) & (corners % 1 != 0).any(axis=1)


def _are_outside(corners: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.bool_]:
    outside = (corners[:, 2:] <= 0) | (corners[:, :2] >= np.array(size[::-1]))
    return np.asarray(outside.any(axis=1))
