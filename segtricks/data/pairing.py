"""Which mask belongs to which photograph: the one of the same name, whatever its suffix."""

import unicodedata
import warnings
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from pathlib import Path, PurePath
from typing import Literal, NamedTuple

from segtricks.errors import UserError

Key = Callable[[Path], str]

MAX_UNPAIRED = 0.01
"""Share of unpaired files that is named and left out; more of them is an error."""


class LeftOut(NamedTuple):
    """A file that was found or named, and is not used."""

    path: Path
    why: Literal["no_mask", "no_boxes", "no_image", "double", "missing", "changed"]


class Pairs(NamedTuple):
    """Images and their masks, in the same order, and the files that pair with nothing."""

    images: list[Path]
    masks: list[Path]
    left_out: list[LeftOut]


def one_per_stem(paths: Iterable[Path], key: Key, suffix: str) -> dict[str, Path]:
    """One file for each key: of several, the one with ``suffix``, then the least nested, then the first by name."""

    def rank(path: Path) -> tuple[bool, int, str]:
        return path.suffix.lower() != suffix, len(path.parts), path.as_posix()

    chosen: dict[str, Path] = {}
    for path in sorted(paths, key=rank):
        chosen.setdefault(key(path), path)
    return chosen


def doubles(paths: Iterable[Path], chosen: dict[str, Path]) -> list[LeftOut]:
    """The files that :func:`one_per_stem` did not choose."""
    used = set(chosen.values())
    return [LeftOut(path, "double") for path in paths if path not in used]


def without_suffix(path: PurePath, root: Path | None = None) -> str:
    """A path, or the part of it below ``root``, as text without its suffix, with ``/`` between its parts."""
    return (path if root is None else path.relative_to(root)).with_suffix("").as_posix()


def endings(path: Path) -> Iterator[str]:
    """The ends of a file's absolute path, the longest first: ``photos/cats/1.jpg``, ``cats/1.jpg``, ``1.jpg``."""
    parts = path.absolute().parts
    return ("/".join(parts[start:]) for start in range(1, len(parts)))


def composed(name: str) -> str:
    """A name with its accents composed, so that the two spellings of an accent are one."""
    return unicodedata.normalize("NFC", name)


def spellings(name: str) -> tuple[str, ...]:
    """A name as it is, with its accents composed (as most systems write them), and taken apart (as macOS does)."""
    if name.isascii():
        return (name,)
    return name, composed(name), unicodedata.normalize("NFD", name)


def by_ending(images: Iterable[Path], names: Container[str]) -> dict[Path, str]:
    """The name that each image goes by: the longest end of its absolute path, without suffix, that is in ``names``.

    An image that ends in none of them keeps its whole path, and so does one whose name an image of another folder
    claims as well, since either of them may be meant.
    """
    found: dict[Path, str] = {}
    folders: dict[str, set[Path]] = {}
    for path in images:
        ends = endings(path.with_suffix(""))
        spelled = (spelling for end in ends for spelling in spellings(end))
        found[path] = next((end for end in spelled if end in names), without_suffix(path.absolute()))
        folders.setdefault(found[path], set()).add(path.absolute().parent)
    for path, name in found.items():
        if len(folders[name]) > 1:
            found[path] = without_suffix(path.absolute())
    return found


def pair(
    name: str, images: Sequence[Path], image_key: Key, masks: dict[str, Path], max_unpaired: float = MAX_UNPAIRED
) -> Pairs:
    """The images that have a mask, in their order, with these masks.

    Images without a mask and masks without an image are left out: how many, and the first few by name, is a warning.

    Args:
        name: What the message calls the dataset.
        images: Photographs.
        image_key: The name of a photograph among the keys of ``masks``.
        masks: Masks by name.
        max_unpaired: Share of all names that may lack one of the two.

    Raises:
        UserError: More than that do.
    """
    keys = {path: image_key(path) for path in images}
    no_mask = [path for path, key in keys.items() if key not in masks]
    no_image = sorted(masks.keys() - keys.values())
    texts = []
    for what, names in (("images have no mask", [keys[path] for path in no_mask]), ("masks have no image", no_image)):
        if names:
            texts.append(f"{len(names):,} of its {what} of the same name: {few(names)}")
    if texts:
        message = f"{name}: {'; '.join(texts)}."
        if len(no_mask) + len(no_image) > max_unpaired * len(masks.keys() | keys.values()):
            raise UserError(
                f"{message}\nAdd or remove these files, which `segtricks data verify` lists; "
                "training alone needs no masks."
            )
        warnings.warn(f"{message} They are left out.", stacklevel=3)
    left_out = [LeftOut(path, "no_mask") for path in no_mask] + [LeftOut(masks[key], "no_image") for key in no_image]
    used = [path for path, key in keys.items() if key in masks]
    return Pairs(used, [masks[keys[path]] for path in used], left_out)


def check_matched(name: str, images: Sequence[Path], matched: Container[Path], what: str, hint: str = "") -> None:
    """Warn of the images without ``what``, such as "boxes in FILE"; a ``UserError`` where no image has any."""
    missing = [path for path in images if path not in matched]
    if len(missing) == len(images):
        raise UserError(
            f"None of the {len(images):,} images of {name} has {what}: they are matched by name, "
            f"for example {images[0].stem}.{hint}"
        )
    if missing:
        message = f"{len(missing):,} of the {len(images):,} images of {name} have no {what} and are left out"
        warnings.warn(f"{message}, the first is {missing[0].name}.", stacklevel=3)


def few(names: Sequence[str]) -> str:
    """The first three names."""
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
