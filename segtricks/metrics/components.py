"""Connected components of a mask in the 4-neighbourhood, from the runs of its rows."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


class Components(NamedTuple):
    """Components in the order of their first pixel, row by row.

    Args:
        area: (n,) pixels.
        boxes: (n, 4) half-open x0, y0, x1, y1.
        runs: (r, 4) the rows' runs: component, row, first column, column after the last.
        size: height and width of the mask.
    """

    area: Ints
    boxes: Ints
    runs: Ints
    size: tuple[int, int]

    def mask(self, index: int) -> NDArray[np.bool_]:
        """Return one component as a mask (H, W)."""
        height, width = self.size
        edges = np.zeros((height, width + 1), np.int8)
        _, row, start, stop = self.runs[self.runs[:, 0] == index].T
        edges[row, start] += 1
        edges[row, stop] -= 1
        return np.cumsum(edges, axis=1)[:, :width].astype(bool)

    def at(self, row: int, column: int) -> int | None:
        """Return the component that holds a pixel, None on the background."""
        _, rows, starts, stops = self.runs.T
        found = self.runs[(rows == row) & (starts <= column) & (column < stops), 0]
        return int(found[0]) if len(found) else None

    def largest(self) -> int | None:
        """Return the component of the largest area, the first of several; None where there is none."""
        return int(self.area.argmax()) if len(self.area) else None


def connected_components(mask: NDArray[np.bool_]) -> Components:
    """Find the 4-connected components of a mask (H, W) bool: memory and time follow the number of runs."""
    height, width = mask.shape
    stride = width + 1
    padded = np.zeros(height * stride + 1, np.int8)
    padded[1:].reshape(height, stride)[:, :width] = mask
    change = np.diff(padded)
    starts, stops = np.flatnonzero(change == 1), np.flatnonzero(change == -1)
    if len(stops) < len(starts):
        stops = np.append(stops, len(change))
    first = np.searchsorted(stops, starts + stride, side="right")
    after = np.searchsorted(starts, stops + stride, side="left")
    touching = np.maximum(after - first, 0)
    upper = np.repeat(np.arange(len(starts)), touching)
    lower = np.arange(len(upper)) + np.repeat(first - (np.cumsum(touching) - touching), touching)
    roots = _roots(len(starts), upper, lower)
    firsts, label = np.unique(roots, return_inverse=True)
    rows, columns, ends = starts // stride, starts % stride, stops - starts // stride * stride
    area = np.zeros(len(firsts), np.int64)
    np.add.at(area, label, ends - columns)
    boxes = np.empty((len(firsts), 4), np.int64)
    for side, values, reduce in (
        (0, columns, np.minimum),
        (1, rows, np.minimum),
        (2, ends, np.maximum),
        (3, rows + 1, np.maximum),
    ):
        boxes[:, side] = values[firsts]
        reduce.at(boxes[:, side], label, values)
    return Components(area, boxes, np.stack([label, rows, columns, ends], axis=1), (height, width))


def _roots(count: int, a: Ints, b: Ints) -> Ints:
    """Return for each of ``count`` nodes the smallest node that the edges a-b join it to."""
    parent = np.arange(count)
    while True:
        u, v = parent[a], parent[b]
        apart = u != v
        if not apart.any():
            return parent
        a, b, u, v = a[apart], b[apart], u[apart], v[apart]
        np.minimum.at(parent, np.maximum(u, v), np.minimum(u, v))
        while True:
            shorter = parent[parent]
            if (shorter == parent).all():
                break
            parent = shorter
