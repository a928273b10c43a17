"""Which mask belongs to which photograph: the one of the same name, whatever its suffix."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from segtricks.errors import UserError

Key = Callable[[Path], str]


def one_per_stem(paths: Iterable[Path], key: Key, suffix: str) -> dict[str, Path]:
    """One file for each key: of several, the one with ``suffix``, then the least nested, then the first by name."""

    def rank(path: Path) -> tuple[bool, int, str]:
        return path.suffix.lower() != suffix, len(path.parts), path.as_posix()

    chosen: dict[str, Path] = {}
    for path in sorted(paths, key=rank):
        chosen.setdefault(key(path), path)
    return chosen


def pair(name: str, images: Sequence[Path], image_key: Key, masks: dict[str, Path]) -> list[Path]:
    """The mask of each image, in the images' order.

    Raises:
        UserError: Images without a mask, or masks without an image: how many, and the first few by name.
    """
    keys = [image_key(path) for path in images]
    known = set(keys)
    for what, lonely in (
        ("images have no mask", [key for key in keys if key not in masks]),
        ("masks have no image", sorted(key for key in masks if key not in known)),
    ):
        if lonely:
            few = ", ".join(lonely[:3]) + (", …" if len(lonely) > 3 else "")
            raise UserError(
                f"{name}: {len(lonely):,} of its {what} of the same name: {few}.\n"
                "Add or remove these files; training alone needs no masks."
            )
    return [masks[key] for key in keys]
