"""Outlines of masks as polygons, for tools that know no other masks."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, cast

import contourpy
import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import DisjointSet
from scipy.spatial import Delaunay

from segtricks.refine.components import connected_components

Ring = NDArray[np.int64]

_TOLERANCE = 1.0  # pixels
_OF_WIDTH = 0.03  # of an object's or hole's area to its border's length: what is small or thin keeps its shape


def outlines(mask: NDArray[np.bool_]) -> list[Ring]:
    """Return one polygon (n, 2) of x and y for each 4-connected component of a mask (H, W), n at least 3.

    Its corners are pixels of the border, which a reader fills as well: so do OpenCV's ``fillPoly`` and Pillow's
    ``polygon`` with an outline. A hole is joined to the outline by a cut without width, there and back; readers fill by
    the even-odd rule. Between corners, the border may be up to a pixel away, of small or thin objects and holes less.
    """
    components = connected_components(mask)
    polygons = []
    for place, (left, top, right, bottom) in enumerate(components.boxes):
        part = components.labels[top:bottom, left:right] == place + 1
        polygon = _outline(_rings(part), float(components.area[place]))
        polygons.append(_three_points(polygon) + np.array([left, top]))
    return polygons


def join_rings(rings: Sequence[Ring]) -> Ring:
    """Return one closed walk along several rings (n, 2): to each of them at its nearest point of another, and back.

    The ways between them are a minimum spanning tree of the rings, so no two of them cross.
    """
    return np.concatenate(rings)[_walk(rings)]


def corners_of(ring: Ring, tolerance: float, fixed: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:
    """Return which points of a closed ring (n, 2) keep it within ``tolerance`` pixels, the ``fixed`` ones among them.

    Source: Douglas and Peucker, "Algorithms for the reduction of the number of points required to represent a digitized
    line or its caricature", Cartographica 1973.
    """
    far = int(((ring - ring[0]) ** 2).sum(axis=1).argmax())
    closed = np.concatenate([ring, ring[:1]])
    kept = np.zeros(len(closed), bool)
    kept[[0, far, len(ring)]] = True
    if fixed is not None:
        kept[:-1] |= fixed
    spans = list(pairwise(np.flatnonzero(kept).tolist()))
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
    return kept[:-1]


def _outline(rings: Sequence[Ring], area: float) -> Ring:
    """The corners of a walk along the rings of one component of an ``area`` in pixels."""
    order = _walk(rings)
    owners = np.repeat(np.arange(len(rings)), [len(ring) for ring in rings])
    changes = np.flatnonzero(np.diff(owners[order]))
    fixed = np.zeros(len(owners), bool)
    fixed[order[changes]] = fixed[order[changes + 1]] = True  # else ways there and back would differ
    width = area / len(order)
    kept = [
        corners_of(ring, min(_TOLERANCE, _OF_WIDTH * min(width, _area(ring) / len(ring))), own)
        for ring, own in zip(rings, np.split(fixed, np.flatnonzero(np.diff(owners)) + 1), strict=True)
    ]
    return np.concatenate(rings)[order[np.concatenate(kept)[order]]]


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


def _walk(rings: Sequence[Ring]) -> NDArray[np.int64]:
    """The order of all points in one walk: numbers of the points of all rings, one after the other."""
    lengths = [len(ring) for ring in rings]
    ends = np.cumsum(lengths)
    after = np.arange(1, ends[-1] + 1)
    after[ends - 1] = [0, *ends[:-1]]
    following, shown = after.tolist(), list(range(len(after)))
    for one, other in _shortest_ways(np.concatenate(rings), np.repeat(np.arange(len(rings)), lengths)):
        # From each of the two points to a copy of the other one, which goes on as that did.
        following += [following[one], following[other]]
        shown += [one, other]
        following[one], following[other] = len(shown) - 1, len(shown) - 2
    walk = [0]
    while following[walk[-1]] != 0:
        walk.append(following[walk[-1]])
    return np.array(shown)[walk]


def _shortest_ways(points: Ring, owners: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Pairs of points (n, 2), by their numbers, that join all rings, the ``owners`` of the points, in the shortest way.

    A minimum spanning tree of points is a part of their Delaunay triangulation, so only that is looked at.
    """
    if owners[-1] == 0:
        return
    distinct, first, places = np.unique(points, axis=0, return_index=True, return_inverse=True)
    # Points far around: no triangulation is without them where all points are on one line.
    far = distinct.min(axis=0) + 4 * (np.ptp(distinct, axis=0).max() + 1) * np.array([[-1, -1], [-1, 2], [2, 0]])
    sides = Delaunay(np.concatenate([distinct, far])).simplices[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)
    sides = first[sides[(sides < len(distinct)).all(axis=1)]]
    pairs = np.concatenate([np.stack([first[places], np.arange(len(points))], axis=1), sides])
    pairs = pairs[owners[pairs[:, 0]] != owners[pairs[:, 1]]]
    lengths = np.linalg.norm(points[pairs[:, 0]] - points[pairs[:, 1]], axis=1)
    joined = DisjointSet(range(owners[-1] + 1))
    for one, other in pairs[np.argsort(lengths, kind="stable")].tolist():
        if joined.merge(int(owners[one]), int(owners[other])):
            yield one, other


def _area(ring: Ring) -> float:
    x, y = ring.T
    return abs(float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum())) / 2


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
