"""Which prediction belongs to which target, and what belongs to none."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from segtricks.data.images import find_images
from segtricks.data.pairing import by_ending, composed, one_per_stem, without_suffix
from segtricks.errors import UserError

Pair = tuple[str, Path, Path | None]
"""Name, prediction and target; the target is None where only boxes are scored."""


@dataclass
class MaskPairs:
    """Files that pair, by name, and files that do not, with the reason.

    Args:
        found: the pairs.
        skipped: path and reason; together with ``found`` they make up every image of both folders.
    """

    found: list[Pair] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)


def pair_masks(predictions: Path, targets: Path, what: tuple[str, str] = ("prediction", "target")) -> MaskPairs:
    """Pair the images of two folders by their path below the folder, suffixes apart.

    Where no two such paths are equal, they pair by name alone, if the names of each folder differ among themselves.
    Of several files of one name the ``.png`` counts. ``what`` says what the files of the two folders are called.

    Raises:
        UserError: a folder is missing or empty, or nothing pairs.
    """
    folder = prediction_folder(predictions)
    files, truths = find_images(folder), find_images(targets)
    ours, theirs = _by_path(folder), _by_path(targets)
    if not {ours(path) for path in files} & {theirs(path) for path in truths} and _distinct(files, truths):
        ours = theirs = _stem
    pairs = MaskPairs()
    masks, wanted = _chosen(files, ours, pairs), _chosen(truths, theirs, pairs)
    for name, target in sorted(wanted.items()):
        if name in masks:
            pairs.found.append((name, masks[name], target))
        else:
            pairs.skipped.append((str(target), f"no {what[0]} of this name"))
    pairs.skipped += [
        (str(path), f"no {what[1]} of this name") for name, path in sorted(masks.items()) if name not in wanted
    ]
    if not pairs.found:
        few = [", ".join(path.name for path in some[:2]) for some in (files, truths)]
        raise UserError(
            f"No {what[0]} in {folder} has the name of a {what[1]} in {targets}: {few[0]}, … and {few[1]}, ….\n"
            f"Next: give each {what[0]} the name of its {what[1]}; the suffix may differ."
        )
    return pairs


def pair_boxes(predictions: Path, names: Iterable[str], boxes: Path) -> MaskPairs:
    """Pair the masks of a folder with boxes by file name, or by as much of the path as a name of the boxes has.

    Raises:
        UserError: the folder is missing or empty, or nothing pairs.
    """
    folder = prediction_folder(predictions)
    pairs, known, files = MaskPairs(), set(names), find_images(folder)
    keys = by_ending(files, known)
    masks = _chosen(files, lambda path: keys[path] if keys[path] in known else path.stem, pairs)
    pairs.found = [(name, masks[name], None) for name in sorted(known) if name in masks]
    pairs.skipped += [(name, "no prediction of this name") for name in sorted(known) if name not in masks]
    pairs.skipped += [(str(path), "no boxes of this name") for name, path in sorted(masks.items()) if name not in known]
    if not pairs.found:
        raise UserError(f"No prediction in {folder} has the name of an image in {boxes}.")
    return pairs


def prediction_folder(folder: Path) -> Path:
    """Return ``folder``, or its ``soft`` where ``segtricks predict`` wrote it."""
    return folder / "soft" if (folder / "soft").is_dir() else folder


def _chosen(files: list[Path], key: Callable[[Path], str], pairs: MaskPairs) -> dict[str, Path]:
    chosen = one_per_stem(files, key, ".png")
    kept = set(chosen.values())
    pairs.skipped += [(str(path), f"{chosen[key(path)].name} is used instead") for path in files if path not in kept]
    return chosen


def _by_path(root: Path) -> Callable[[Path], str]:
    return lambda path: composed(without_suffix(path, root))


def _stem(path: Path) -> str:
    return composed(path.stem)


def _distinct(*folders: list[Path]) -> bool:
    return all(max(Counter(path.stem for path in files).values()) == 1 for files in folders)
