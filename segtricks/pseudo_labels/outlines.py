"""Outlines of masks as polygons, for tools that know no other masks."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, cast

import contourpy
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from segtricks.refine.components import connected_components

Ring = NDArray[np.int64]

_TOLERANCE = 1.0  # pixels
_OF_WIDTH = 0.03  # of an object's area to its border's length: what is small or thin keeps its shape


def outlines(mask: NDArray[np.bool_]) -> list[Ring]:
    """Return one polygon (n, 2) of x and y for each 4-connected component of a mask (H, W), n at least 3.

    Its corners are pixels of the border, which a reader fills as well: so do OpenCV's ``fillPoly`` and Pillow's
    ``polygon`` with an outline. A hole is joined to the outline by a cut without width, there and back; readers fill by
    the even-odd rule. Between corners, the border may be up to a pixel away, of small or thin objects less.
    """
    components = connected_components(mask)
    polygons = []
    for place, (left, top, right, bottom) in enumerate(components.boxes):
        part = components.labels[top:bottom, left:right] == place + 1
        walk = join_rings(_rings(part))
        walk = simplified(walk, min(_TOLERANCE, _OF_WIDTH * float(components.area[place]) / len(walk)))
        polygons.append(_three_points(walk) + np.array([left, top]))
    return polygons


def join_rings(rings: Sequence[Ring]) -> Ring:
    """Return one closed walk along several rings (n, 2): to each of them from the nearest point, and back."""
    walk, left = rings[0], list(rings[1:])
    tree = KDTree(walk)
    nearest = [_nearest(ring, tree) for ring in left]
    while left:
        chosen = min(range(len(left)), key=lambda i: nearest[i][0])
        ring, (_, start, point) = left.pop(chosen), nearest.pop(chosen)
        place = int(np.flatnonzero((walk == point).all(axis=1))[0])
        detour = np.concatenate([ring[start:], ring[: start + 1]])
        walk = np.concatenate([walk[: place + 1], detour, walk[place:]])
        tree = KDTree(ring)
        for i, other in enumerate(left):
            nearest[i] = min(nearest[i], _nearest(other, tree), key=_distance)
    return walk


def simplified(ring: Ring, tolerance: float) -> Ring:
    """Return the corners of a closed ring (n, 2) that keep it within ``tolerance`` pixels.

    Source: Douglas and Peucker, "Algorithms for the reduction of the number of points required to represent a digitized
    line or its caricature", Cartographica 1973.
    """
    far = int(((ring - ring[0]) ** 2).sum(axis=1).argmax())
    closed = np.concatenate([ring, ring[:1]])
    kept = np.zeros(len(closed), bool)
    kept[[0, far]] = True
    spans = [(0, far), (far, len(ring))]
    while spans:
        first, last = spans.pop()
        if last - first < 2:
            continue
        away = _distances(closed[first + 1 : last], closed[first], closed[last])
        worst = int(away.argmax())
        if away[worst] > tolerance:
            middle = first + 1 + worst
            kept[middle] = True
            spans += [(first, middle), (middle, last)]
    return ring[kept[:-1]]


def _rings(mask: NDArray[np.bool_]) -> list[Ring]:
    """The outer border of one component, then those of its holes: pixels that belong to it."""
    padded = np.pad(mask, 1).astype(np.float32)
    generator = contourpy.contour_generator(z=padded, fill_type=contourpy.FillType.OuterOffset)
    # So near to 1, the line runs by the middles of the mask's own pixels.
    found = cast(tuple[list[NDArray[Any]], list[NDArray[Any]]], generator.filled(0.99, np.inf))
    (points,), (offsets,) = found
    corners = np.rint(points).astype(np.int64) - 1
    return [_without_doubles(corners[start : stop - 1]) for start, stop in pairwise(offsets)]


def _without_doubles(ring: Ring) -> Ring:
    same = (ring == np.roll(ring, 1, axis=0)).all(axis=1)
    return ring[:1] if same.all() else ring[~same]


def _nearest(ring: Ring, tree: KDTree) -> tuple[float, int, Ring]:
    """The least distance of a ring to the points of a tree, the place in the ring where it is, and the point."""
    distances, places = tree.query(ring)
    start = int(distances.argmin())
    return float(distances[start]), start, tree.data[places[start]]


def _distance(found: tuple[float, int, Ring]) -> float:
    return found[0]


def _distances(points: Ring, first: Ring, last: Ring) -> NDArray[np.float64]:
    """Of points (n, 2) from the segment between two others."""
    along = (last - first).astype(np.float64)
    share = (points - first) @ along / max(float(along @ along), 1e-12)
    nearest = first + np.clip(share, 0, 1)[:, None] * along
    away: NDArray[np.float64] = np.linalg.norm(points - nearest, axis=1)
    return away


def _three_points(ring: Ring) -> Ring:
    """A polygon has three corners, also that of a single pixel."""
    return np.concatenate([ring, np.repeat(ring[-1:], max(0, 3 - len(ring)), axis=0)])
