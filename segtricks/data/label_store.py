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
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from tqdm import tqdm

from segtricks.data.coco import DAMAGE, CocoImage, coco_images, draw_outline, reading_coco
from segtricks.data.images import UnreadableImage, find_images
from segtricks.data.label_entry import Entry, checked_size, encode_mask, entry_names, read_entry
from segtricks.data.mask_values import on_disk
from segtricks.data.pairing import endings, few, one_per_stem, spellings, without_suffix
from segtricks.data.reading import Reading
from segtricks.errors import UserError

FORMAT = "segtricks pseudo-labels 1"
_HOW_TO_MAKE = "Next: make them with `segtricks discover --images PHOTOS --output MASKS`, or with `segtricks predict`."


@dataclass
class Summary:
    """Result of :meth:`Store.check`: entries' names of the usable photographs, number of all, number of usable masks.

    ``left_out`` has the names of photographs and entries that are not used, by the reason.
    """

    usable: dict[Path, str]
    photographs: int
    masks: int
    left_out: dict[str, list[str]]

    def __str__(self) -> str:
        """Return the counts, and the first names of those that are left out."""
        reasons = [f"{len(names):,} {reason} ({few(names)})" for reason, names in self.left_out.items()]
        return (
            f"{len(self.usable):,} of {self.photographs:,} photographs have pseudo-labels: {self.masks:,} masks.\n"
            f"Not used: {'; '.join(reasons) or 'none'}."
        )


class Store:
    """Pseudo-labels of photographs, each read when it is asked for.

    Args:
        path: folder or file.
        names: of the entries.
        read: makes the entry of a name; a function that worker processes can be given.
        index: content of ``index.json``.
        files: masks by name, where they are nothing but files.
        reading: how these are read.
    """

    def __init__(
        self,
        path: Path,
        names: Iterable[str],
        read: Callable[[str], Entry],
        index: Mapping[str, Any] | None = None,
        files: Mapping[str, Path] | None = None,
        reading: Reading | None = None,
    ) -> None:
        self.path, self.names, self.index, self.files = path, list(names), dict(index or {}), dict(files or {})
        self.reading = reading
        self._known, self._read = frozenset(self.names), read

    @classmethod
    def open(
        cls, path: str | Path, foreground: Sequence[int] = (), ignore: Sequence[int] = (), what: str = "masks"
    ) -> "Store":
        """Open a store, a folder of mask files, or a JSON file; no entry is read.

        A mask file is one mask, gray above 127; its name is its path below the folder, without suffix. What their
        values mean is decided for all files, see :func:`segtricks.data.mask_values.decide`; where they hold classes,
        ``foreground`` says which count, and ``ignore`` which do not. Where the command has options for them, ``what``
        is ``targets``. A JSON file is COCO's, with run-length codes or
        polygons (crowds are left out), or maps file names to run-length codes.

        Raises:
            UserError: there is nothing of the kind, or it is of a later format.
        """
        path = Path(path).expanduser()
        if path.is_file():
            images = _json_images(path)
            store = cls(path, images, partial(_outlined_entry, images))
        elif is_store(path):
            store = cls(path, entry_files(path / "entries"), partial(read_entry, path), _read_index(path))
        elif path.is_dir():
            masks = path / "soft" if (path / "soft").is_dir() else path  # of a segtricks that wrote no entries yet
            files = one_per_stem(find_images(masks), lambda file: without_suffix(file, masks), ".png")
            reading = Reading((), list(files.values()), on_disk)
            reading.foreground, reading.ignore, reading.what = tuple(foreground), tuple(ignore), what
            store = cls(path, sorted(files), partial(_mask_entry, files, reading), None, files, reading)
        else:
            raise UserError(f"No pseudo-labels at {path} (looked from {Path.cwd()}).\n{_HOW_TO_MAKE}")
        if not store.names:
            raise UserError(f"{path} holds no pseudo-labels.\n{_HOW_TO_MAKE}")
        return store

    def __len__(self) -> int:
        """Number of entries."""
        return len(self.names)

    def entry(self, name: str) -> Entry:
        """Return one entry; an ``UnreadableImage`` where it is damaged, or there is none of this name."""
        if name not in self._known:
            raise UnreadableImage(name, f"has no entry in {self.path}")
        return self._read(name)

    def match(self, photographs: Iterable[Path], root: Path | None = None) -> dict[Path, str]:
        """Return the entry's name of each photograph that has one, in the order of the photographs.

        ``root`` is the folder that the entries' names are relative to. Without it, the longest end of a photograph's
        path counts that is the name of an entry, unless another photograph ends in it as well.
        """
        claims: dict[str, list[Path]] = {}
        for path in photographs:
            spelled = (spelling for name in _names(path, root) for spelling in spellings(name))
            found = next((name for name in spelled if name in self._known), None)
            if found is not None:
                claims.setdefault(found, []).append(path)
        return {paths[0]: name for name, paths in claims.items() if len(paths) == 1}

    def check(self, photographs: Sequence[Path], root: Path | None = None) -> Summary:
        """Read all entries of the photographs and return which can be used; see :meth:`match` for ``root``.

        Left out are damaged entries, those of another size than their photograph, and those without a label map whose
        masks are all empty or full.

        Raises:
            UserError: none can be used.
        """
        matched = self.match(photographs, root)
        left_out: dict[str, list[str]] = {}
        summary = Summary({}, len(photographs), 0, left_out)
        for path in tqdm(photographs, desc="pseudo-labels", unit=" images", disable=None, leave=False, delay=2):
            if path not in matched:
                left_out.setdefault("without an entry", []).append(path.name)
                continue
            try:
                entry = self.entry(matched[path])
                entry.check_sizes(path)
                usable = entry.usable()
            except UnreadableImage as error:
                left_out.setdefault("damaged or of another size", []).append(f"{path.name}: {error.reason}")
                continue
            summary.masks += len(usable.masks)
            if usable.masks or entry.labels is not None:
                summary.usable[path] = entry.name
            else:
                left_out.setdefault("without a mask", []).append(path.name)
        orphans = sorted(self._known.difference(matched.values()))
        if orphans:
            left_out["entries without their photograph"] = orphans
        if not summary.usable:
            raise UserError(f"Nothing in {self.path} can be used. {summary}\n{_HOW_TO_MAKE}")
        return summary


def is_store(path: str | Path) -> bool:
    """Whether a path is a folder with entries."""
    return (Path(path).expanduser() / "entries").is_dir()


def _names(path: Path, root: Path | None) -> Iterator[str]:
    """Names that the entry of a photograph may have, the first choice first."""
    if root is None:
        for both in zip(endings(path), endings(path.with_suffix("")), strict=True):
            yield from both
    elif path.is_relative_to(root):
        below = path.relative_to(root)
        yield from (below.as_posix(), without_suffix(below))


def entry_files(folder: Path) -> list[str]:
    """Return the names of all entries in ``entries/``; hidden files are temporary ones."""
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
    except DAMAGE as error:
        warnings.warn(f"{path} is damaged and not used: {error}.", stacklevel=3)
        return {}
    if index.get("format", FORMAT) != FORMAT:
        raise UserError(f"{path} is of the format {index['format']!r}, and this segtricks reads {FORMAT!r}: update it.")
    return index


def _mask_entry(files: Mapping[str, Path], reading: Reading, name: str) -> Entry:
    """The entry of a mask file."""
    mask = reading.masks.read(files[name])[0][0].numpy()
    height, width = mask.shape
    inside = mask > 127
    masks = (encode_mask(inside),) if inside.any() else ()
    return Entry(name, height, width, masks, soft=files[name])


def _json_images(path: Path) -> dict[str, CocoImage]:
    with reading_coco(path):
        content: dict[str, Any] = json.loads(path.read_bytes())
        if "images" in content and "annotations" in content:
            found, problems = coco_images(path, content)
            problems.warn()
        else:
            found = [_coded_image(image, codes) for image, codes in content.items()]
        if found and all(image.fault for image in found):
            raise ValueError(f"none of its images is usable, {found[0].name}: {found[0].fault}")
        names = entry_names(PurePosixPath(image.name) for image in found)
        return {names[PurePosixPath(image.name)]: image for image in found}


def _coded_image(name: str, codes: Any) -> CocoImage:
    """One line of a file that maps file names to run-length codes."""
    several = codes if isinstance(codes, list) else [codes]
    try:
        height, width = several[0]["size"]
    except DAMAGE as error:
        return CocoImage(name.lstrip("/"), (0, 0), [], [], f"damaged: {type(error).__name__} {error}")
    return CocoImage(name.lstrip("/"), (height, width), [{"segmentation": code} for code in several], [])


def _outlined_entry(images: Mapping[str, CocoImage], name: str) -> Entry:
    """The entry of a photograph in a JSON file."""
    image = images[name]
    if image.fault:
        raise UnreadableImage(name, image.fault)
    try:
        height, width = checked_size(*image.size)
        masks = []
        for item in image.objects:
            pixels = draw_outline(item.get("segmentation"), height, width) > 0
            masks.append(encode_mask(pixels, item.get("score"), item.get("category_id")))
    except DAMAGE as error:
        raise UnreadableImage(name, f"damaged: {type(error).__name__} {error}") from error
    return Entry(name, height, width, tuple(masks), image=image.name)
