"""Pseudo-labels on disk: a folder that a labelling method writes, one entry a photograph, and that training reads.

Layout of a store, as ``segtricks predict`` and ``segtricks discover`` write it::

    index.json         format, settings, source and counts
    entries/NAME.json  size of the photograph, and any number of masks, each with a score, a class and a box
    soft/NAME.png      8-bit soft mask, where there is one
    labels/NAME.png    8- or 16-bit map of class ids, where there is one

A panoptic map is its segments: masks with classes. NAME is the photograph's path below its folder, see
:func:`entry_names`. :meth:`Store.open` also reads a folder of mask files and COCO's JSON.
"""

import json
import math
import operator
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco
from tqdm import tqdm

from segtricks.data.coco import draw_outline, expand_runs
from segtricks.data.images import UnreadableImage, find_images, read_mask, read_size
from segtricks.data.pairing import few, one_per_stem
from segtricks.errors import UserError
from segtricks.runs import replacing

FORMAT = "segtricks pseudo-labels 1"
_HOW_TO_MAKE = "Next: make them with `segtricks discover --images PHOTOS --output MASKS`, or with `segtricks predict`."
_DAMAGE = (OSError, LookupError, TypeError, ValueError, OverflowError, RecursionError)


@dataclass(frozen=True)
class Mask:
    """One mask of a photograph.

    Args:
        rle: COCO's compressed run-length code.
        box: half-open x0, y0, x1, y1 in pixels; zeros around nothing.
        score: any finite number, higher for a better mask, or None.
        class_id: from 0, or None.
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
    """What a store holds for one photograph; pixels are read and decoded by the methods.

    Args:
        name: in the store.
        height: of the photograph in pixels.
        width: of the photograph in pixels.
        masks: any number, which may overlap.
        soft: file of the soft mask.
        labels: file of the label map.
        image: path of the photograph below its folder, as far as the store knows it.
    """

    name: str
    height: int
    width: int
    masks: tuple[Mask, ...] = ()
    soft: Path | None = None
    labels: Path | None = None
    image: str = ""

    def arrays(self) -> NDArray[np.bool_]:
        """Return the masks, (n, H, W) bool.

        Raises:
            UnreadableImage: a code is damaged, or is of another size.
        """
        arrays = np.zeros((len(self.masks), self.height, self.width), bool)
        for array, mask in zip(arrays, self.masks, strict=True):
            array[:] = self._decode(draw_outline, {"size": [self.height, self.width], "counts": mask.rle})
        return arrays

    def areas(self) -> list[int]:
        """Return the number of pixels of each mask, from its code alone; raises as :meth:`arrays` does."""
        return [self._decode(_area, mask.rle) for mask in self.masks]

    def usable(self) -> "Entry":
        """Return the entry without the masks that are empty or full; raises as :meth:`arrays` does."""
        pixels = self.height * self.width
        kept = [mask for mask, area in zip(self.masks, self.areas(), strict=True) if 0 < area < pixels]
        return replace(self, masks=tuple(kept))

    def read_soft(self) -> NDArray[np.float32] | None:
        """Return the soft mask, (H, W) in [0, 1], or None; raises as :meth:`arrays` does."""
        if self.soft is None:
            return None
        soft = read_mask(self.soft)[0].numpy()
        return self._of_size(soft, self.soft).astype(np.float32) / np.float32(255)

    def read_labels(self) -> NDArray[np.int64] | None:
        """Return the label map, (H, W) class ids as they are, or None; raises as :meth:`arrays` does."""
        if self.labels is None:
            return None
        try:
            with Image.open(self.labels, formats=("PNG",)) as image:
                labels = np.asarray(image)
        except Exception as error:  # decoders answer damage with anything
            raise UnreadableImage(self.labels, f"damaged: {error}") from error
        if labels.ndim != 2 or labels.dtype.kind not in "ui":
            raise UnreadableImage(self.labels, "is not a map of class ids: 8 or 16 bits, one channel")
        return self._of_size(labels, self.labels).astype(np.int64)

    def check_sizes(self, photograph: Path) -> None:
        """Raise an ``UnreadableImage`` unless the photograph and all files are of the entry's size; reads headers."""
        for path in filter(None, (photograph, self.soft, self.labels)):
            self._same(read_size(path), path)

    def _of_size(self, array: NDArray[Any], path: Path) -> NDArray[Any]:
        self._same(array.shape, path)
        return array

    def _same(self, size: tuple[int, ...], path: Path) -> None:
        if size != (self.height, self.width):
            text = f"is {size[1]} x {size[0]} pixels, its entry {self.width} x {self.height} (width x height)"
            raise UnreadableImage(path, text)

    def _decode(self, function: Callable[..., Any], code: Any) -> Any:
        try:
            return function(code, self.height, self.width)
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            raise UnreadableImage(self.name, f"a mask is damaged: {error}") from error


@dataclass(frozen=True)
class Summary:
    """What :meth:`Store.check` found; as text two lines.

    Args:
        usable: entry's name of each photograph that can be used, in the order of the photographs.
        photographs: number of all photographs.
        masks: number of their masks that can be used.
        empty: number of their masks without foreground, left out.
        full: number of their masks of nothing else, left out.
        left_out: names of photographs and entries that are not used, by the reason.
    """

    usable: dict[Path, str]
    photographs: int
    masks: int
    empty: int
    full: int
    left_out: dict[str, list[str]]

    def __str__(self) -> str:
        """Return the counts, and what was left out, with the first names."""
        reasons = [f"{len(names):,} {reason} ({few(names)})" for reason, names in self.left_out.items()]
        return (
            f"{len(self.usable):,} of {self.photographs:,} photographs have pseudo-labels: {self.masks:,} masks; "
            f"left out: {self.empty:,} empty masks, {self.full:,} of everything.\n"
            f"Not used: {'; '.join(reasons) or 'none'}."
        )


class Store:
    """Pseudo-labels of photographs, each read when it is asked for.

    Args:
        path: folder or file.
        names: of the entries.
        read: makes the entry of a name; a function that worker processes can be given.
        index: content of ``index.json``.
    """

    def __init__(
        self, path: Path, names: Iterable[str], read: Callable[[str], Entry], index: Mapping[str, Any] | None = None
    ) -> None:
        self.path, self.names, self.index = path, list(names), dict(index or {})
        self._known, self._read = frozenset(self.names), read

    @classmethod
    def open(cls, path: str | Path) -> "Store":
        """Open a store, a folder of mask files, or a JSON file; no entry is read.

        A mask file is one mask, gray above 127; its name is its path below the folder, without suffix. A JSON file is
        COCO's, with run-length codes or polygons (crowds are left out), or maps file names to run-length codes.

        Raises:
            UserError: there is nothing of the kind, or it is of a later format.
        """
        path = Path(path).expanduser()
        if path.is_file():
            records = _json_records(path)
            store = cls(path, records, partial(_outlined_entry, records))
        elif (path / "entries").is_dir():
            store = cls(path, _entry_files(path / "entries"), partial(_read_entry, path), _read_index(path))
        elif path.is_dir():
            masks = path / "soft" if (path / "soft").is_dir() else path  # of a segtricks that wrote no entries yet
            files = one_per_stem(find_images(masks), lambda file: _without_suffix(file.relative_to(masks)), ".png")
            store = cls(path, sorted(files), partial(_mask_entry, files))
        else:
            raise UserError(f"No pseudo-labels at {path} (looked from {Path.cwd()}).\n{_HOW_TO_MAKE}")
        if not store.names:
            raise UserError(f"{path} holds no pseudo-labels.\n{_HOW_TO_MAKE}")
        return store

    def __len__(self) -> int:
        """Number of entries."""
        return len(self.names)

    def entry(self, name: str) -> Entry:
        """Return one entry.

        Raises:
            UnreadableImage: it is damaged, or there is none of this name.
        """
        if name not in self._known:
            raise UnreadableImage(name, f"has no entry in {self.path}")
        return self._read(name)

    def match(self, photographs: Iterable[Path], root: Path | None = None) -> dict[Path, str]:
        """Return the entry's name of each photograph that has one, in the order of the photographs.

        Args:
            photographs: their paths.
            root: folder that the entries' names are relative to. Without it, the longest end of a photograph's path
                counts that is the name of an entry, unless another photograph ends in it as well.
        """
        claims: dict[str, list[Path]] = {}
        for path in photographs:
            name = self._name_of(path, root)
            if name is not None:
                claims.setdefault(name, []).append(path)
        return {paths[0]: name for name, paths in claims.items() if len(paths) == 1}

    def check(self, photographs: Sequence[Path], root: Path | None = None) -> Summary:
        """Read all entries of the photographs and return which can be used.

        Left out are damaged entries, those of another size than their photograph, and those without a label map whose
        masks are all empty or full. See :meth:`match` for ``root``.

        Raises:
            UserError: none can be used.
        """
        matched = self.match(photographs, root)
        usable: dict[Path, str] = {}
        left_out: dict[str, list[str]] = {}
        counts: Counter[str] = Counter()
        for path in tqdm(photographs, desc="pseudo-labels", unit=" images", disable=None, leave=False, delay=2):
            if path not in matched:
                left_out.setdefault("without an entry", []).append(path.name)
                continue
            try:
                entry = self.entry(matched[path])
                entry.check_sizes(path)
                kinds = _kinds(entry)
            except UnreadableImage as error:
                left_out.setdefault("damaged or of another size", []).append(f"{path.name}: {error.reason}")
                continue
            counts.update(kinds)
            if kinds["masks"] or entry.labels is not None:
                usable[path] = entry.name
            else:
                left_out.setdefault("without a mask", []).append(path.name)
        orphans = sorted(self._known.difference(matched.values()))
        if orphans:
            left_out["entries without their photograph"] = orphans
        summary = Summary(usable, len(photographs), counts["masks"], counts["empty"], counts["full"], left_out)
        if not usable:
            raise UserError(f"Nothing in {self.path} can be used. {summary}\n{_HOW_TO_MAKE}")
        return summary

    def _name_of(self, path: Path, root: Path | None) -> str | None:
        if root is None:
            parts = path.absolute().parts
            ends = [Path(*parts[start:]) for start in range(1, len(parts))]
        else:
            ends = [path.relative_to(root)] if path.is_relative_to(root) else []
        for end in ends:
            for name in (end.as_posix(), _without_suffix(end)):
                if name in self._known:
                    return name
        return None


def entry_names(photographs: Iterable[PurePath]) -> dict[PurePath, str]:
    """Return the entry's name of each photograph, given by its path below their folder.

    It is the path without its suffix; photographs that differ in their suffix alone keep it (``a.jpg``).
    """
    paths = list(photographs)
    stems = Counter(_without_suffix(path) for path in paths)
    shared = {stem for stem, count in stems.items() if count > 1}
    names = {}
    for path in paths:
        stem = _without_suffix(path)
        names[path] = path.as_posix() if stem in shared else stem
    return names


def encode_mask(mask: NDArray[np.bool_], score: float | None = None, class_id: int | None = None) -> Mask:
    """Return a mask (H, W) bool as it is stored; score and class id may be numbers of any library.

    Raises:
        ValueError: the score is not finite, or the class id is negative.
    """
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
    """Write a map (H, W) of class ids, in one step: with 8 bits where they suffice, else with 16.

    Raises:
        ValueError: an id is not within 0..65535.
    """
    if labels.min() < 0 or labels.max() > 65535:
        raise ValueError(f"class ids lie in 0..65535, not in {labels.min()}..{labels.max()}")
    kind = np.uint8 if labels.max() < 256 else np.uint16
    with replacing(folder / "labels" / f"{name}.png") as temporary:
        Image.fromarray(labels.astype(kind)).save(temporary)


def to_coco(
    store: Store, photographs: Sequence[Path], path: Path | None = None, root: Path | None = None
) -> dict[str, Any]:
    """Return the usable masks of the photographs in COCO's instance format, and write them to ``path``.

    Masks without a class are of the category ``object``, id 1, or one above the largest class id. Annotations carry
    ``score`` where there is one. See :meth:`Store.match` for ``root``, and :meth:`Store.check` for what is left out.

    Raises:
        UserError: no photograph has a usable mask.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (photo, name) in enumerate(store.check(photographs, root).usable.items(), start=1):
        entry = store.entry(name).usable()
        file_name = entry.image or photo.name
        images.append({"id": number, "file_name": file_name, "height": entry.height, "width": entry.width})
        for mask, area in zip(entry.masks, entry.areas(), strict=True):
            item = {"id": len(annotations) + 1, "image_id": number, "area": area, "iscrowd": 0}
            annotations.append(item | _annotation(mask, entry))
    classes = {item["category_id"] for item in annotations} - {None}
    without = max(classes, default=0) + 1
    for item in annotations:
        if item["category_id"] is None:
            item["category_id"] = without
    used = sorted({item["category_id"] for item in annotations})
    categories = [{"id": number, "name": str(number) if number in classes else "object"} for number in used]
    content = {"images": images, "annotations": annotations, "categories": categories}
    if path is not None:
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(content) + "\n", encoding="utf-8")
    return content


def _annotation(mask: Mask, entry: Entry) -> dict[str, Any]:
    left, top, right, bottom = mask.box
    content = {
        "segmentation": {"size": [entry.height, entry.width], "counts": mask.rle},
        "bbox": [left, top, right - left, bottom - top],
        "category_id": mask.class_id,
    }
    return content if mask.score is None else content | {"score": mask.score}


def _kinds(entry: Entry) -> Counter[str]:
    """How many of the masks are empty, full, and neither of them."""
    kinds = {0: "empty", entry.height * entry.width: "full"}
    return Counter(kinds.get(area, "masks") for area in entry.areas())


def _area(rle: str, height: int, width: int) -> int:
    runs = expand_runs(rle)
    if min(runs, default=-1) < 0 or sum(runs) != height * width:
        raise ValueError(f"its runs do not add up to {height} x {width} pixels")
    return sum(runs[1::2])


def _entry_files(folder: Path) -> list[str]:
    """Names of all entries; hidden files are temporary ones."""
    names = []
    for parent, _, files in os.walk(folder):
        below = Path(parent).relative_to(folder)
        names += [(below / file).as_posix()[:-5] for file in files if file.endswith(".json") and file[0] != "."]
    return sorted(names)


def _read_index(folder: Path) -> dict[str, Any]:
    path = folder / "index.json"
    if not path.is_file():
        return {}  # a shard of several, or stopped before its end
    try:
        index: dict[str, Any] = dict(json.loads(path.read_text(encoding="utf-8")))
    except _DAMAGE as error:
        warnings.warn(f"{path} is damaged and not used: {error}.", stacklevel=3)
        return {}
    if index.get("format", FORMAT) != FORMAT:
        raise UserError(f"{path} is of the format {index['format']!r}, and this segtricks reads {FORMAT!r}: update it.")
    return index


def _read_entry(folder: Path, name: str) -> Entry:
    path = folder / "entries" / f"{name}.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        height, width = _checked_size(content["height"], content["width"])
        masks = tuple(_read_stored(item, height, width) for item in content["masks"])
        image = str(content["image"])
    except _DAMAGE as error:
        raise UnreadableImage(path, f"damaged: {type(error).__name__} {error}") from error
    soft, labels = (folder / kind / f"{name}.png" for kind in ("soft", "labels"))
    return Entry(name, height, width, masks, _if_there(soft), _if_there(labels), image)


def _read_stored(item: Any, height: int, width: int) -> Mask:
    left, top, right, bottom = box = tuple(int(side) for side in item["box"])
    if not (0 <= left <= right <= width and 0 <= top <= bottom <= height):
        raise ValueError(f"the box {list(box)} leaves the image")
    return Mask(item["rle"], (left, top, right, bottom), item.get("score"), item.get("class_id"))


def _mask_entry(files: Mapping[str, Path], name: str) -> Entry:
    """The entry of a mask file."""
    mask = read_mask(files[name])[0].numpy()
    height, width = mask.shape
    inside = mask > 127
    masks = (encode_mask(inside),) if inside.any() else ()
    return Entry(name, height, width, masks, soft=files[name])


@dataclass(frozen=True)
class _Record:
    """What a JSON file says of one photograph: its path, height and width, and (outline, score, class) of its masks."""

    image: str
    size: Any
    objects: list[tuple[Any, Any, Any]]


def _json_records(path: Path) -> dict[str, _Record]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if "images" in content and "annotations" in content:
            found = _coco_records(path, content)
        else:
            found = [_code_record(image, codes) for image, codes in content.items()]
    except (*_DAMAGE, AttributeError) as error:
        text = f"{path} is not a COCO annotation file: {type(error).__name__} {error}."
        raise UserError(f"{text}\nNext: pass such a file, a folder of masks, or the output of `discover`.") from error
    names = entry_names(PurePosixPath(record.image) for record in found)
    return {names[PurePosixPath(record.image)]: record for record in found}


def _coco_records(path: Path, content: dict[str, Any]) -> list[_Record]:
    records = {}
    for image in content["images"]:
        size = image.get("height"), image.get("width")
        records[image["id"]] = _Record(str(image["file_name"]).lstrip("/"), size, [])
    strays = 0
    for item in content["annotations"]:
        record = records.get(item.get("image_id"))
        if record is None:
            strays += 1
        elif not item.get("iscrowd", 0):
            record.objects.append((item.get("segmentation"), item.get("score"), item.get("category_id")))
    if strays:
        warnings.warn(f"{path}: {strays:,} annotations belong to none of its images and are not used.", stacklevel=4)
    return list(records.values())


def _code_record(image: str, codes: Any) -> _Record:
    """One line of a file that maps file names to run-length codes."""
    several = codes if isinstance(codes, list) else [codes]
    size = several[0]["size"]
    return _Record(image.lstrip("/"), size, [(code, None, None) for code in several])


def _outlined_entry(records: Mapping[str, _Record], name: str) -> Entry:
    """The entry of a photograph in a JSON file."""
    record = records[name]
    try:
        height, width = _checked_size(*record.size)
        masks = []
        for outline, score, class_id in record.objects:
            if isinstance(outline, list):
                outline = [np.asarray(polygon, np.float64) for polygon in outline]
            masks.append(encode_mask(draw_outline(outline, height, width) > 0, score, class_id))
    except _DAMAGE as error:
        raise UnreadableImage(name, f"damaged: {type(error).__name__} {error}") from error
    return Entry(name, height, width, tuple(masks), image=record.image)


def _checked_size(height: Any, width: Any) -> tuple[int, int]:
    if not (_is_integer(height) and _is_integer(width) and min(height, width) > 0):
        raise ValueError(f"{height!r} x {width!r} is not a size in pixels")
    if Image.MAX_IMAGE_PIXELS is not None and height * width > Image.MAX_IMAGE_PIXELS:
        raise ValueError(f"more than {Image.MAX_IMAGE_PIXELS} pixels, Pillow's limit")
    return height, width


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _if_there(path: Path) -> Path | None:
    return path if path.is_file() else None


def _without_suffix(path: PurePath) -> str:
    return path.with_suffix("").as_posix()
