"""What the numbers of a folder of masks mean, decided once for all its files."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segtricks.data.images import RawMask, UnreadableImage, read_raw_mask
from segtricks.errors import UserError
from segtricks.parallel import in_threads

_FEW = 8  # different values of a file, at most, that can be classes
_LARGEST_CLASS = 32
_VOID = 255
_DEPTHS = (255, 4095, 65535)
"""The largest values of files of 16 bits that hold 8, 12 or 16 bits."""


@dataclass(frozen=True)
class MaskRule:
    """How every mask of a folder is read.

    Args:
        source: gray values and luminances; the alpha of cut-outs; or the classes of a palette.
        white: the gray value that is foreground: 255, 65535, 4095 for 12 bits in 16, or 1 for masks of 0 and 1.
        foreground: the values that are foreground, where they were given.
        ignore: values whose pixels are not scored.
    """

    source: Literal["gray", "alpha", "palette"] = "gray"
    white: int = 255
    foreground: tuple[int, ...] = ()
    ignore: tuple[int, ...] = ()

    def read(self, path: Path) -> tuple[Tensor, Tensor, RawMask]:
        """Read a mask: uint8 (1, H, W), the pixels that are not scored as bool (1, H, W), and its values.

        Raises:
            UnreadableImage: it cannot be read.
        """
        raw = read_raw_mask(path)
        ignored = np.isin(raw.levels, self.ignore)
        mask = np.where(ignored, 0, self._values(raw)).astype(np.uint8)
        return torch.from_numpy(mask)[None], torch.from_numpy(ignored)[None], raw

    def _values(self, raw: RawMask) -> NDArray[np.uint8]:
        if self.foreground:
            return np.isin(raw.levels, self.foreground) * np.uint8(255)
        if self.source == "alpha":
            return np.full(raw.levels.shape, 255, np.uint8) if raw.alpha is None else raw.alpha
        if self.source == "palette" or self.ignore:
            return (raw.levels > 0) * np.uint8(255)
        if raw.white == 1.0:
            return np.rint(raw.levels * 255.0).astype(np.uint8)
        if self.white == 1:
            return (raw.levels > 0) * np.uint8(255)
        white = 255 if raw.white == 255 else max(self.white, 255)
        return raw.levels if white == 255 and raw.levels.dtype == np.uint8 else _scaled(raw.levels, white)


@dataclass(frozen=True)
class _Seen:
    raw_white: float
    kind: str
    high: float
    values: frozenset[int] | None
    cut_out: bool


def decide(
    paths: Sequence[Path],
    what: str,
    foreground: Sequence[int] = (),
    ignore: Sequence[int] = (),
    workers: int | None = None,
) -> MaskRule:
    """Look at every mask of a folder, and decide how all of them are read.

    Cut-outs, of which at least half have an alpha that varies, are read by it. Palettes of colours hold classes, of
    which any is foreground. Masks whose largest value anywhere is 1 are masks of 0 and 1, also where others hold 0 and
    255 alone. Files of 16 bits whose values
    fit into 8 or 12 bits are read on that scale.

    Args:
        paths: the files; those that cannot be read are left to whoever reads them.
        what: they are, for messages: ``predictions``, ``targets`` or ``masks``. For ``targets`` the options of
            ``segtricks evaluate`` are advised.
        foreground: values that are foreground; all others are background.
        ignore: values whose pixels are not scored.
        workers: threads.

    Raises:
        UserError: the values are those of classes, and neither ``foreground`` nor ``ignore`` is given.
    """
    chosen = tuple(foreground), tuple(ignore)
    threads = workers or min(16, os.cpu_count() or 1)
    seen = [each for each in in_threads(_look, list(paths), threads, f"values of {what}") if each is not None]
    if not seen:
        return MaskRule("gray", 255, *chosen)
    if 2 * sum(each.cut_out for each in seen) >= len(seen):
        return MaskRule("alpha", 255, *chosen)
    palettes = 2 * sum(each.kind == "palette" for each in seen) >= len(seen)
    if not any(chosen):
        _refuse_classes(seen, what, palettes)
    return MaskRule("palette" if palettes else "gray", _white(seen), *chosen)


def _look(path: Path) -> _Seen | None:
    try:
        raw = read_raw_mask(path)
    except UnreadableImage:
        return None
    values = None
    if raw.white != 1.0:
        counts = np.bincount(raw.levels.ravel() // raw.one)
        found = np.flatnonzero(counts)
        values = frozenset(found.tolist()) if len(found) <= _FEW else None
    high = float(raw.levels.max()) / (raw.one if raw.white == 255 else 1)
    cut_out = raw.alpha is not None and raw.alpha.min() < raw.alpha.max()
    return _Seen(raw.white, raw.kind, high, values, cut_out)


def _white(seen: Sequence[_Seen]) -> int:
    whole = [each for each in seen if each.raw_white != 1.0]
    if whole and (max(each.high for each in whole) == 1 or _is_hard(whole)):
        return 1
    wide = [each.high for each in whole if each.raw_white == 65535]
    return min(depth for depth in _DEPTHS if not wide or max(wide) <= depth)


def _is_hard(seen: Sequence[_Seen]) -> bool:
    """Whether every file is a mask of 0 and 1 or of 0 and 255, some of each."""
    values = [each.values or frozenset({_VOID + 1}) for each in seen]
    return all(each <= {0, 1} or each <= {0, 255} for each in values) and any(1 in each for each in values)


def _refuse_classes(seen: Sequence[_Seen], what: str, palettes: bool) -> None:
    if any(each.values is None for each in seen):
        return
    values = set().union(*(each.values or () for each in seen))
    classes = values - {0, _VOID}
    void = _VOID in values
    if palettes and not void:
        return
    if not classes or max(classes) > _LARGEST_CLASS or values <= {0, 1} or _is_hard(seen):
        return
    listed = ", ".join(map(str, sorted(values)))
    advice = "write them as 0 and 255; soft masks as 0 to 255."
    if what == "targets":
        option = "--foreground 1 --ignore 255" if void else f"--foreground {min(classes)}"
        advice = f"say which are foreground and which are not scored, for example {option}."
    raise UserError(
        f"The {what} hold the values {listed}: classes or nearly empty, and not masks of 0 and 255 (or 0 and 1).\n"
        f"Next: {advice}"
    )


def _scaled(levels: NDArray[np.int64], white: int) -> NDArray[np.uint8]:
    return np.rint(np.minimum(levels, white) * (255 / white)).astype(np.uint8)
