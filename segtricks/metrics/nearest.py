"""The exact Euclidean distance transform, with the pixel it belongs to."""

import functools
import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Whole = NDArray[Any]  # int32 or int64
_CELLS = 1 << 21  # candidates held at once


def nearest_foreground(mask: NDArray[np.bool_]) -> tuple[Whole, Whole, Whole]:
    """Find the foreground pixel nearest to every pixel; of equally near ones the left-most, then the upper.

    Args:
        mask: (H, W) bool with at least one foreground pixel.

    Returns:
        Squared distance, row and column of the nearest pixel, each (H, W) int32.

    Raises:
        ValueError: if the mask is empty.
    """
    if not mask.any():
        raise ValueError("an empty mask has no nearest foreground pixel")
    row, column = (_scipy() or _search_strips)(mask)
    across, along = np.arange(mask.shape[1], dtype=np.int32), np.arange(len(mask), dtype=np.int32)[:, None]
    return (column - across) ** 2 + (row - along) ** 2, row, column


@functools.cache
def _scipy() -> Callable[[NDArray[np.bool_]], tuple[Whole, Whole]] | None:
    """Return scipy's transform where it is installed: it breaks ties the same way, in half the time."""
    if importlib.util.find_spec("scipy") is None:
        return None
    transform = importlib.import_module("scipy.ndimage").distance_transform_edt
    return lambda mask: tuple(transform(~mask, return_distances=False, return_indices=True))


def _search_strips(mask: NDArray[np.bool_]) -> tuple[Whole, Whole]:
    """Return row and column of the nearest pixel, (H, W) each, a strip of rows at a time."""
    height, width = mask.shape
    rows = _nearest_row(mask)
    columns = np.flatnonzero(mask.any(axis=0))
    vertical = (rows - np.arange(height, dtype=np.int32)[:, None])[:, columns] ** 2
    owner = np.empty((height, width), np.int32)
    step = max(1, _CELLS // (width + len(columns)))
    for top in range(0, height, step):
        strip = slice(top, top + step)
        owner[strip] = _nearest_column(vertical[strip], columns, mask[strip])
    return np.take_along_axis(rows, owner, axis=1), owner


def _nearest_row(mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Row of the nearest foreground pixel of the same column, the upper one of two; far away where there is none."""
    height = len(mask)
    index = np.arange(height, dtype=np.int32)[:, None]
    above = np.maximum.accumulate(np.where(mask, index, np.int32(-2 * height)), axis=0)
    below = np.minimum.accumulate(np.where(mask, index, np.int32(3 * height))[::-1], axis=0)[::-1]
    return np.where(index - above <= below - index, above, below)


def _nearest_column(vertical: Whole, columns: Whole, mask: NDArray[np.bool_]) -> Whole:
    """For every pixel of these rows, the column of the least squared distance, the left-most of several.

    That column never moves left as the pixel moves right, so each pixel searches only between the answers of its
    neighbours on a coarser grid. A foreground pixel is its own answer, known from the start.

    Args:
        vertical: (h, C) squared vertical distances at the columns that hold foreground.
        columns: (C,) these columns.
        mask: (h, W) bool.
    """
    width, count = mask.shape[1], len(columns)
    # The sort key of _search must fit: 32 bits are enough below about a megapixel, and twice as fast.
    kind = np.int32 if (int(vertical.max()) + width * width) * count < 2**31 else np.int64
    flat, columns = vertical.astype(kind).reshape(-1), columns.astype(kind)
    own = np.zeros(width, kind)
    own[columns] = np.arange(count, dtype=kind)
    # Bounds of every pixel's answer: the foreground of its own row to its left and right.
    best = np.where(mask, own, kind(0))
    low = np.maximum.accumulate(best, axis=1)
    high = np.minimum.accumulate(np.where(mask, own, kind(count - 1))[:, ::-1], axis=1)[:, ::-1]
    stride = 1 << max(0, (width - 1).bit_length())
    while stride >= 1:
        # The first grid is column 0 alone; each later one halves the gaps.
        place = np.zeros(1, np.int64) if stride >= width else np.arange(stride, width, 2 * stride)
        first, last = low[:, place], high[:, place]
        if stride < width:
            first = np.maximum(first, best[:, place - stride])
            inside = place + stride < width
            last[:, inside] = np.minimum(last[:, inside], best[:, place[inside] + stride])
        answer = first.reshape(-1)  # row by row, a copy where numpy laid it out otherwise
        searched = np.flatnonzero((first < last) & ~mask[:, place])
        if len(searched):
            row, index = np.divmod(searched, len(place))
            bounds = answer[searched], last.reshape(-1)[searched]
            answer[searched] = _search(flat, columns, row * count, place[index], *bounds)
        best[:, place] = np.where(mask[:, place], best[:, place], answer.reshape(first.shape))
        stride //= 2
    return columns[best]


def _search(vertical: Whole, columns: Whole, base: Whole, place: Whole, low: Whole, high: Whole) -> Whole:
    """Index of the best column for each pixel, between ``low`` and ``high`` inclusive; all but two are (n,).

    Args:
        vertical: all squared vertical distances; a pixel's row begins at ``base``.
        columns: (C,) columns that hold foreground.
        base: where a pixel's row begins.
        place: its column.
        low: its first candidate.
        high: its last.
    """
    kind, count = low.dtype, len(columns)
    lengths = high - low + 1
    starts = np.cumsum(lengths) - lengths
    owner = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
    candidate = np.arange(lengths.sum(), dtype=kind) + (low - starts.astype(kind))[owner]
    distance = columns[candidate] - place.astype(kind)[owner]
    distance *= distance
    distance += vertical[candidate + base.astype(kind)[owner]]
    # One key orders by distance, then from left to right.
    distance *= count
    distance += candidate
    return np.minimum.reduceat(distance, starts) % count
