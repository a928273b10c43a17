"""What the numbers of a folder of masks mean, decided once for all its files."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segtricks.data.images import RawMask, UnreadableImage, read_labels, read_raw_mask
from segtricks.errors import UserError
from segtricks.parallel import in_threads

_FEW = 8  # different values of a file, at most, that can be classes
_LARGEST_CLASS = 32
_GUESSED = 16
_VOID = 255
DEPTHS = (255, 1023, 4095, 65535)
"""The largest values of files of 16 bits that hold 8, 10, 12 or 16 bits."""

SAMPLE = 1000
"""Files at most that are looked at to decide how a data set is read, spread evenly over it."""

Content = Callable[[Path], bytes | None]
"""The content of a file that lies in an archive, None for one on disk."""


def on_disk(path: Path) -> None:
    """A ``Content`` of files that lie in no archive."""


@dataclass(frozen=True)
class MaskRule:
    """How every mask of a folder is read.

    Args:
        source: gray values; the luminances of colours; the alpha of cut-outs; or the classes of a palette.
        white: the gray value that is foreground: 255, 65535, 4095 for 12 bits in 16, or 1 for masks of 0 and 1.
        foreground: the values that are foreground, where they were given.
        ignore: values whose pixels are not scored.
    """

    source: Literal["gray", "luminance", "alpha", "palette"] = "gray"
    white: int = 255
    foreground: tuple[int, ...] = ()
    ignore: tuple[int, ...] = ()

    def read(self, path: Path, content: bytes | None = None) -> tuple[Tensor, Tensor, RawMask]:
        """Read a mask: uint8 (1, H, W), the pixels that are not scored as bool (1, H, W), and its values.

        Raises:
            UnreadableImage: it cannot be read, or its values are at odds with the rule.
        """
        return self._read(path, read_raw_mask(path, content))

    def _read(self, path: Path, raw: RawMask) -> tuple[Tensor, Tensor, RawMask]:
        if self._is_at_odds(raw):
            end = "are 0 and 1 alone" if self.white == 1 else f"end at {self.white}"
            raise UnreadableImage(path, f"it has the value {raw.levels.max()}, where the masks of its folder {end}")
        mask, ignored = self._values(raw), np.zeros(raw.levels.shape, bool)
        if self.ignore:
            ignored = np.isin(raw.levels, self.ignore)
            mask = np.where(ignored, np.uint8(0), mask)
        return torch.from_numpy(mask)[None], torch.from_numpy(ignored)[None], raw

    def lines(self) -> list[str]:
        """Return what is unusual about the rule, in words."""
        found = []
        if self.source == "alpha":
            found.append("masks are cut-outs and are read by their alpha")
        elif self.source == "luminance":
            found.append("masks are in colour and are read by their luminance (classes: make masks of 0 and 255)")
        elif self.source == "palette" and not self.foreground:
            found.append("masks are label maps, of which every class is read as foreground")
        elif self.white == 1:
            found.append("masks hold 0 and 1 and are read as 0 and 255")
        elif self.white in DEPTHS[1:-1]:
            found.append(f"masks of 16 bits hold no value above {self.white}, which is read as white")
        if self.foreground:
            found.append(f"values of the masks that are foreground: {_text(self.foreground)}")
        if self.ignore:
            found.append(f"values of the masks that are not scored: {_text(self.ignore)}")
        return found

    def _is_at_odds(self, raw: RawMask) -> bool:
        """Whether a mask is of another scale than those that were looked at."""
        if self.source not in ("gray", "luminance") or self.foreground or self.ignore or raw.white == 1.0:
            return False
        if self.white == 1:
            return bool(((raw.levels > raw.one) & (raw.levels != 255)).any())
        return raw.white == 65535 and bool(raw.levels.max() > self.white)

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
class MaskLook:
    """What one file says about how its folder is to be read.

    Args:
        raw_white: the largest value that such a file could hold: 255, 65535 or 1.0.
        kind: gray, colour or palette, see :class:`segtricks.data.images.RawMask`.
        high: its largest value.
        values: its different values, None where there are more than classes would have.
        cut_out: it has an alpha that varies.
        coloured: its colours are not grays.
    """

    raw_white: float
    kind: str
    high: float
    values: frozenset[int] | None
    cut_out: bool
    coloured: bool


@dataclass(frozen=True)
class WatchedRule(MaskRule):
    """A guess of how to read a folder, which looks at every file that it reads.

    Args:
        looks: at files that could be read, by their path.
    """

    looks: dict[Path, MaskLook] = field(default_factory=dict)

    @classmethod
    def guess(cls, paths: Sequence[Path], what: str, **options: Any) -> "WatchedRule":
        """Return what :func:`decide` says of a few of the files, or of all where the few are refused."""
        try:
            rule = decide(spread_out(paths, _GUESSED), what, **options)
        except UserError:
            rule = decide(paths, what, **options)
        return cls(rule.source, rule.white, rule.foreground, rule.ignore)

    @property
    def plain(self) -> MaskRule:
        """The same rule without the looks."""
        return MaskRule(self.source, self.white, self.foreground, self.ignore)

    def read(self, path: Path, content: bytes | None = None) -> tuple[Tensor, Tensor, RawMask]:
        """Read as :meth:`MaskRule.read` does."""
        raw = read_raw_mask(path, content)
        self.looks[path] = _look(raw)
        return self._read(path, raw)


def decide(
    paths: Sequence[Path],
    what: str,
    foreground: Sequence[int] = (),
    ignore: Sequence[int] = (),
    workers: int | None = None,
    options: str = "--",
    content: Content = on_disk,
    looks: Mapping[Path, MaskLook] | None = None,
) -> MaskRule:
    """Look at every mask of a folder, and decide how all of them are read.

    Cut-outs, of which at least half have an alpha that varies, are read by it. Palettes of colours hold classes, of
    which any is foreground, but 255, which is the border of PASCAL VOC's objects and not scored. Masks whose largest
    value anywhere is 1 are masks of 0 and 1, also where others hold 0 and 255 alone. Files of 16 bits whose values fit
    into 8, 10 or 12 bits are read on that scale. Masks with one colour on black have it as foreground.

    Args:
        paths: the files; those that cannot be read are left to whoever reads them.
        what: they are, for messages: ``predictions``, ``targets`` or ``masks``. For ``targets`` options are advised.
        foreground: values that are foreground; all others are background.
        ignore: values whose pixels are not scored.
        workers: threads.
        options: what the names of the advised options ``foreground`` and ``ignore`` start with.
        content: of the files.
        looks: at files that were read before.

    Raises:
        UserError: the values or colours are those of classes, and neither ``foreground`` nor ``ignore`` is given.
    """
    chosen = tuple(foreground), tuple(ignore)
    threads = workers or min(16, os.cpu_count() or 1)
    looks = looks or {}
    unread = [path for path in paths if path not in looks]
    others = in_threads(partial(_look_at_file, content=content), unread, threads, f"values of {what}")
    seen = [*looks.values(), *(each for each in others if each is not None)]
    if not seen:
        return MaskRule("gray", 255, *chosen)
    if 2 * sum(each.cut_out for each in seen) >= len(seen):
        return MaskRule("alpha", 255, *chosen)
    if 2 * sum(each.kind == "palette" for each in seen) >= len(seen):
        values = set().union(*(each.values or () for each in seen))
        has_border = _VOID in values and not values <= {0, _VOID}
        return MaskRule("palette", 255, *(((), (_VOID,)) if has_border and not any(chosen) else chosen))
    if not any(chosen):
        _refuse_classes(seen, what, options)
    if 2 * sum(each.coloured for each in seen) < len(seen):
        return MaskRule("gray", _white(seen), *chosen)
    if not any(chosen):
        chosen = _only_colour(seen, what, options), ()
    return MaskRule("luminance", _white(seen), *chosen)


def refuse_masks(paths: Sequence[Path], option: str, content: Content = on_disk) -> None:
    """Raise a ``UserError`` where what should be label maps holds 0 and 255 alone, which is no class and void.

    Files are looked at until one holds a class; those that cannot be read are left to whoever reads them.
    """
    found: set[int] = set()
    for path in paths:
        try:
            found.update(np.unique(read_labels(path, content(path)).numpy()).tolist())
        except UnreadableImage:
            continue
        if not found <= {0, _VOID}:
            return
    if _VOID in found:
        raise UserError(
            f"The label maps of {option} hold {_text(sorted(found))} alone: masks, in which 255 would be void.\n"
            "Next: pass a folder of class ids from 0 on; for masks of objects, --data.masks."
        )


def spread_out(paths: Sequence[Path], count: int = SAMPLE) -> list[Path]:
    """Return ``count`` of the paths at most, spread evenly over them."""
    step = max(1.0, len(paths) / count)
    return [paths[int(number * step)] for number in range(min(count, len(paths)))]


def _look_at_file(path: Path, content: Content) -> MaskLook | None:
    try:
        return _look(read_raw_mask(path, content(path)))
    except UnreadableImage:
        return None


def _look(raw: RawMask) -> MaskLook:
    values = None
    if raw.white != 1.0:
        found = np.flatnonzero(np.bincount(raw.levels.ravel()))
        found = np.unique(found // raw.one)
        values = frozenset(found.tolist()) if len(found) <= _FEW else None
    high = float(raw.levels.max()) / (raw.one if raw.white == 255 else 1)
    cut_out = raw.alpha is not None and raw.alpha.min() < raw.alpha.max()
    return MaskLook(raw.white, raw.kind, high, values, cut_out, raw.coloured)


def _white(seen: Sequence[MaskLook]) -> int:
    whole = [each for each in seen if each.raw_white != 1.0]
    if whole and (max(each.high for each in whole) == 1 or _is_hard(whole)):
        return 1
    wide = [each.high for each in whole if each.raw_white == 65535]
    return min(depth for depth in DEPTHS if not wide or max(wide) <= depth)


def _is_hard(seen: Sequence[MaskLook]) -> bool:
    """Whether every file is a mask of 0 and 1 or of 0 and 255, some of each."""
    values = [each.values or frozenset({_VOID + 1}) for each in seen]
    return all(each <= {0, 1} or each <= {0, 255} for each in values) and any(1 in each for each in values)


def _only_colour(seen: Sequence[MaskLook], what: str, options: str) -> tuple[int, ...]:
    """The luminance of the colour that all masks have on black; none where there are more than classes would have."""
    values = set[int]()
    for each in seen:
        if each.values is None:
            return ()
        values |= each.values
    colours = tuple(sorted(values - {0}))
    if len(colours) == 1 and 0 in values:
        return colours
    raise UserError(
        f"The {what} are in colours, of the luminances {_text(sorted(values))}: classes, and not masks of 0 and 255.\n"
        f"Next: {_advice(what, f'say which luminances are foreground, for example {options}foreground {colours[0]}.')}"
    )


def _refuse_classes(seen: Sequence[MaskLook], what: str, options: str) -> None:
    seen = [each for each in seen if not each.coloured]
    if any(each.values is None for each in seen):
        return
    values = set().union(*(each.values or () for each in seen))
    classes = values - {0, _VOID}
    void = _VOID in values
    if not classes or max(classes) > _LARGEST_CLASS or values <= {0, 1} or _is_hard(seen):
        return
    listed = _text(sorted(values))
    option = f"{options}foreground {min(classes)}" + (f" {options}ignore 255" if void else "")
    advice = _advice(what, f"say which are foreground and which are not scored, for example {option}.")
    raise UserError(
        f"The {what} hold the values {listed}: classes or nearly empty, and not masks of 0 and 255 (or 0 and 1).\n"
        f"Next: {advice}"
    )


def _advice(what: str, option: str) -> str:
    """What to do about classes; options are for targets alone."""
    return option if what == "targets" else "write them as 0 and 255; soft masks as 0 to 255."


def _text(values: Sequence[int]) -> str:
    return ", ".join(map(str, values))


def _scaled(levels: NDArray[np.int64], white: int) -> NDArray[np.uint8]:
    return np.rint(np.minimum(levels, white) * (255 / white)).astype(np.uint8)
