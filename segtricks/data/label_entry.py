"""One entry of a store of pseudo-labels: the masks of a photograph, and how they lie on disk."""

import hashlib
import json
import math
import operator
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco

from segtricks.data.coco import DAMAGE, fill_runs, read_runs
from segtricks.data.images import UnreadableImage, read_labels, read_size
from segtricks.data.pairing import without_suffix
from segtricks.runs import replacing

_LONGEST = 240
"""Bytes of a file's name before its suffix; file systems take 255 in all."""


@dataclass(frozen=True)
class Mask:
    """One mask of a photograph: COCO's compressed run-length code, and half-open x0, y0, x1, y1 in pixels around it.

    A score is any finite number, higher for a better mask; class ids count from 0.
    """

    rle: str
    box: tuple[int, int, int, int]
    score: float | None = None
    class_id: int | None = None

    def __post_init__(self) -> None:
        """Raise a ``TypeError`` or ``ValueError`` unless score and class are what they should be."""
        if not isinstance(self.rle, str):
            raise TypeError("a mask's rle is not a text")
        if self.score is not None and not (_is_number(self.score) and math.isfinite(self.score)):
            raise ValueError(f"the score {self.score!r} is not a finite number")
        if self.class_id is not None and not (_is_integer(self.class_id) and self.class_id >= 0):
            raise ValueError(f"the class id {self.class_id!r} is not an integer from 0")


@dataclass(frozen=True)
class Entry:
    """One photograph's part of a store; pixels are read and decoded by the methods.

    Args:
        name: in the store.
        height: of the photograph in pixels, as ``width``.
        masks: any number, which may overlap.
        soft: file of the soft mask.
        labels: file of the label map.
        image: path of the photograph below its folder, where known.
    """

    name: str
    height: int
    width: int
    masks: tuple[Mask, ...] = ()
    soft: Path | None = None
    labels: Path | None = None
    image: str = ""

    def arrays(self) -> NDArray[np.bool_]:
        """Return the masks, (n, H, W) bool; an ``UnreadableImage`` where a code is damaged or of another size."""
        arrays = np.zeros((len(self.masks), self.height, self.width), bool)
        for array, mask in zip(arrays, self.masks, strict=True):
            array[:] = self._decode(fill_runs, mask)
        return arrays

    def array(self, place: int) -> NDArray[np.bool_]:
        """Return one of the masks, (H, W) bool; raises as :meth:`arrays` does."""
        mask: NDArray[np.bool_] = self._decode(fill_runs, self.masks[place]) > 0
        return mask

    def areas(self) -> list[int]:
        """Return the number of pixels of each mask, from its code alone; raises as :meth:`arrays` does."""
        return [int(self._decode(read_runs, mask)[1::2].sum()) for mask in self.masks]

    def usable(self) -> "Entry":
        """Return the entry without the masks that are empty or full; raises as :meth:`arrays` does."""
        pixels = self.height * self.width
        kept = [mask for mask, area in zip(self.masks, self.areas(), strict=True) if 0 < area < pixels]
        return replace(self, masks=tuple(kept))

    def read_labels(self) -> NDArray[np.int64] | None:
        """Return the label map, (H, W) class ids as they are, or None; raises as :meth:`arrays` does."""
        if self.labels is None:
            return None
        labels: NDArray[np.int64] = read_labels(self.labels)[0].numpy()
        self._check_size(labels.shape, self.labels)
        return labels

    def check_sizes(self, photograph: Path) -> None:
        """Raise an ``UnreadableImage`` unless the photograph and all files are of the entry's size; reads headers."""
        for path in filter(None, (photograph, self.soft, self.labels)):
            self._check_size(read_size(path), path)

    def _check_size(self, size: tuple[int, ...], path: Path) -> None:
        if size != (self.height, self.width):
            text = f"is {size[1]} x {size[0]} pixels, its entry {self.width} x {self.height} (width x height)"
            raise UnreadableImage(path, text)

    def _decode(self, function: Callable[..., Any], mask: Mask) -> Any:
        try:
            return function(mask.rle, self.height, self.width)
        except DAMAGE as error:
            raise UnreadableImage(self.name, f"a mask is damaged: {error}") from error


def entry_names(photographs: Iterable[PurePath]) -> dict[PurePath, str]:
    """Return the entry's name of each photograph, given by its path below their folder.

    It is the path without its suffix; photographs that differ in their suffix alone keep it (``a.jpg``), and so does
    one whose name would then be theirs (``a.jpg.png``). A name that leaves no room for a suffix is cut, and ends with a
    hash of it.
    """
    names = {path: without_suffix(path) for path in photographs}
    while len(set(names.values())) < len(names):
        counts = Counter(names.values())
        names = {path: name if counts[name] == 1 else path.as_posix() for path, name in names.items()}
    return {path: _with_room(name) for path, name in names.items()}


def _with_room(name: str) -> str:
    folder, slash, last = name.rpartition("/")
    encoded = last.encode(errors="surrogateescape")
    if len(encoded) <= _LONGEST:
        return name
    kept = encoded[: _LONGEST - 11].decode(errors="ignore")
    return f"{folder}{slash}{kept}-{hashlib.sha1(encoded).hexdigest()[:10]}"


def encode_mask(mask: NDArray[np.bool_], score: float | None = None, class_id: int | None = None) -> Mask:
    """Return a mask (H, W) bool as it is stored; score and class id may be numbers of any library."""
    code = coco.encode(np.asfortranarray(mask, np.uint8))
    left, top, width, height = (int(value) for value in coco.toBbox(code))
    return Mask(
        rle=code["counts"].decode(),
        box=(left, top, left + width, top + height),
        score=None if score is None else float(score),
        class_id=None if class_id is None else operator.index(class_id),
    )


def write_entry(folder: Path, name: str, image: str, size: tuple[int, int], masks: Sequence[Mask]) -> None:
    """Write one entry, in one step: ``image`` is the photograph's path below its folder, ``size`` (H, W).

    An entry vouches for ``soft/`` and ``labels/`` of its name, so write these first.
    """
    items = [{"rle": mask.rle, "box": mask.box, "score": mask.score, "class_id": mask.class_id} for mask in masks]
    content = {"image": image, "height": size[0], "width": size[1], "masks": items}
    with replacing(folder / "entries" / f"{name}.json") as temporary:
        temporary.write_text(json.dumps(content, allow_nan=False) + "\n", encoding="utf-8")


def write_labels(folder: Path, name: str, labels: NDArray[np.integer[Any]]) -> None:
    """Write a map (H, W) of class ids in 0..65535, in one step: with 8 bits where they suffice, else with 16."""
    if labels.min() < 0 or labels.max() > 65535:
        raise ValueError(f"class ids lie in 0..65535, not in {labels.min()}..{labels.max()}")
    kind = np.uint8 if labels.max() < 256 else np.uint16
    with replacing(folder / "labels" / f"{name}.png") as temporary:
        Image.fromarray(labels.astype(kind)).save(temporary)


def read_entry(folder: Path, name: str) -> Entry:
    """Read what :func:`write_entry` wrote; an ``UnreadableImage`` where it is damaged."""
    path = folder / "entries" / f"{name}.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        height, width = checked_size(content["height"], content["width"])
        masks = tuple(_read_stored(item, height, width) for item in content["masks"])
        image = str(content["image"])
    except DAMAGE as error:
        raise UnreadableImage(path, f"damaged: {type(error).__name__} {error}") from error
    files = [folder / kind / f"{name}.png" for kind in ("soft", "labels")]
    soft, labels = (path if path.is_file() else None for path in files)
    return Entry(name, height, width, masks, soft, labels, image)


def _read_stored(item: Any, height: int, width: int) -> Mask:
    left, top, right, bottom = box = tuple(int(side) for side in item["box"])
    if not (0 <= left <= right <= width and 0 <= top <= bottom <= height):
        raise ValueError(f"the box {list(box)} leaves the image")
    return Mask(item["rle"], (left, top, right, bottom), item.get("score"), item.get("class_id"))


def checked_size(height: Any, width: Any) -> tuple[int, int]:
    """Return both, or raise a ``ValueError`` unless they are the size of a picture."""
    if not (_is_integer(height) and _is_integer(width) and min(height, width) > 0):
        raise ValueError(f"{height!r} x {width!r} is not a size in pixels")
    if Image.MAX_IMAGE_PIXELS is not None and height * width > Image.MAX_IMAGE_PIXELS:
        raise ValueError(f"more than {Image.MAX_IMAGE_PIXELS} pixels, Pillow's limit")
    return height, width


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
