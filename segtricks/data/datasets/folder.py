"""Any photographs: a folder or a list of files, with or without masks."""

import os
import unicodedata
import warnings
from collections.abc import Container, Sequence
from pathlib import Path

from segtricks.data.coco import CocoMasks
from segtricks.data.datasets.drawn import DrawnObjects
from segtricks.data.images import find_images
from segtricks.data.pairing import (
    MAX_UNPAIRED,
    LeftOut,
    by_ending,
    doubles,
    few,
    one_per_stem,
    pair,
    spellings,
    without_suffix,
)
from segtricks.errors import UserError
from segtricks.runs import replacing


class ImageFolder(DrawnObjects):
    """Your own photographs, however nested; ``name`` is the folder's or the list's name.

    A mask of a folder belongs to the photograph with the same path below its folder, suffixes apart:
    ``photos/cats/1.jpg`` and ``masks/cats/1.png``; of several, the ``.png``. A list may name files from anywhere, so
    there the mask counts whose path below its folder ends the photograph's path, the longest first: ``cats/1.png``,
    else ``1.png``. Objects of a COCO file find their photograph in the same way, by its ``file_name``. A list and a
    COCO file may leave out any of the masks and photographs.

    Args:
        root: Folder of photographs, or a text file that names one in each line; see :func:`read_list`.
        masks: Folder of masks, which may lie within ``root``, or a COCO JSON file, see :class:`CocoMasks`.
        strict: No file may lack its partner.
        max_unpaired: Share of the files that may, or that a list may name in vain: they are named in a warning.

    Raises:
        UserError: A folder or list is missing or empty, or photographs and masks do not pair.
    """

    def __init__(
        self,
        root: str | Path,
        masks: str | Path | None = None,
        strict: bool = False,
        max_unpaired: float = MAX_UNPAIRED,
    ) -> None:
        root = Path(root).expanduser()
        listed = root.suffix.lower() == ".txt" and not root.is_dir()
        name = root.stem if listed else root.resolve().name
        limit = 0.0 if strict else max_unpaired
        self.left_out: list[LeftOut] = []
        images = self._listed(root, name, limit) if listed else find_images(root)
        self.root = Path(os.path.commonpath([path.parent.absolute() for path in images])) if listed else root
        """The folder that the photographs' names are relative to: of a list, the one that holds them all."""
        if masks is None:
            super().__init__(name, images)
            return
        place = Path(masks).expanduser()
        if place.suffix.lower() == ".json" and not place.is_dir():
            self.drawn = CocoMasks(place)
            self.target_kinds = ("mask", "instances", "panoptic")
            keys = by_ending(images, self.drawn.names)
            known = {key: place for key in keys.values() if key in self.drawn.names}
        else:
            found = find_images(place)
            within, above = _real(place), _real(root)
            if not listed and within != above and within.is_relative_to(above):
                images = [path for path in images if not _real(path).is_relative_to(within)]
            known = one_per_stem(found, lambda path: without_suffix(path, place), ".png")
            self.left_out += doubles(found, known)
            if listed:
                keys = by_ending(images, known)
                known = {key: known[key] for key in keys.values() if key in known}
            else:
                keys = {path: _known_name(without_suffix(path, root), known) for path in images}
        pairs = pair(name, images, lambda path: keys[path], known, limit)
        self.left_out += pairs.left_out
        super().__init__(name, pairs.images, pairs.masks)

    def _listed(self, root: Path, name: str, limit: float) -> list[Path]:
        paths = read_list(root)
        there = [path for path in paths if path.is_file()]
        missing = sorted(set(paths).difference(there))
        if missing:
            message = f"{name}: {len(missing):,} of the {len(paths):,} files listed in {root} do not exist: "
            message += f"{few([str(path) for path in missing])}."
            if not there or len(missing) > limit * len(paths):
                raise UserError(f"{message}\nPaths are relative to {root.parent.absolute()}, or absolute.")
            warnings.warn(f"{message} They are left out.", stacklevel=3)
            self.left_out += [LeftOut(path, "missing") for path in missing]
        return there


def read_list(path: str | Path) -> list[Path]:
    """Files that a text file names, one in each line, in its order; a file named twice counts once.

    Paths are absolute or relative to the list's own folder. Empty lines and lines that start with ``#`` are skipped.

    Raises:
        UserError: There is no such list, it is not UTF-8 text, or it names nothing.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise UserError(f"No list {path} (looked from {Path.cwd()}): pass a text file of image paths.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text: a list names one image file in each line.") from error
    lines = [line.strip() for line in text.split("\n")]
    names = dict.fromkeys(line for line in lines if line and not line.startswith("#"))
    if not names:
        raise UserError(f"The list {path} names no files: write one path in each line.")
    return list(dict.fromkeys(path.parent / os.path.expanduser(name) for name in names))


def write_list(path: str | Path, images: Sequence[Path]) -> None:
    """Write a list that :func:`read_list` reads: relative to its folder for what lies below, else absolute."""
    path = Path(path)
    folder = path.parent.absolute()
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for image in images:
            place = image.absolute()
            # With "./" no name is taken for a comment or a home folder, and none loses a blank at its start.
            line = f"./{place.relative_to(folder).as_posix()}" if place.is_relative_to(folder) else str(place)
            file.write(f"{line}\n")


def fits_list(path: Path) -> bool:
    """Whether a list can name the file: UTF-8, no line breaks or other control characters."""
    # Bytes that are not UTF-8 are surrogates, category Cs.
    return not any(unicodedata.category(character) in ("Cc", "Cs") for character in str(path.absolute()))


def _known_name(name: str, known: Container[str]) -> str:
    """The spelling of a name that is known, or the name."""
    return next((spelling for spelling in spellings(name) if spelling in known), name)


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))  # Path.resolve fails where links go in a circle
