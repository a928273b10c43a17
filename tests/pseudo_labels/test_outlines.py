import time
from itertools import groupby

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy import ndimage
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial.distance import cdist

from segtricks.data.images import read_mask
from segtricks.pseudo_labels.outlines import corners_of, join_rings, outlines


def filled(polygon, shape):
    """Pixels that Pillow fills, its way of drawing the outline included."""
    picture = Image.new("L", shape[::-1])
    ImageDraw.Draw(picture).polygon([tuple(point) for point in polygon.tolist()], outline=1, fill=1)
    return np.asarray(picture) > 0


def drawn(mask):
    """The mask that its outlines give."""
    whole = np.zeros_like(mask)
    for polygon in outlines(mask):
        whole |= filled(polygon, mask.shape)
    return whole


def iou(one, other):
    return (one & other).sum() / max(1, (one | other).sum())


def test_outlines_of_real_masks_give_them_back(photographs):
    paths = sorted((photographs / "ECSSD" / "ground_truth_mask").glob("*.png"))[::10]
    masks = [read_mask(path)[0].numpy() > 127 for path in paths]
    found = [iou(mask, drawn(mask)) for mask in masks]
    assert min(found) > 0.98 and np.mean(found) > 0.99
    corners = [sum(map(len, outlines(mask))) for mask in masks]
    assert np.mean(corners) < 200, "an outline stays short enough to be edited by hand"


@pytest.mark.parametrize("sigma", [0.5, 1, 3])
def test_any_number_of_holes_and_parts_are_kept(sigma):
    noise = np.random.default_rng(0).standard_normal((40, 60))
    mask = ndimage.gaussian_filter(noise, sigma) > 0
    assert iou(mask, drawn(mask)) > 0.995
    assert len(outlines(mask)) == ndimage.label(mask)[1], "one polygon for each component"


@pytest.mark.parametrize(
    "mask",
    [np.ones((1, 1)), np.ones((3, 1)), np.eye(4), np.ones((4, 4)), np.pad(np.ones((1, 5)), 1)],
    ids=["pixel", "column", "diagonal", "full", "line"],
)
def test_what_is_thin_or_touches_the_border_is_kept_and_has_three_corners(mask):
    mask = mask > 0
    assert (drawn(mask) == mask).all()
    assert all(len(polygon) >= 3 for polygon in outlines(mask))


def test_an_empty_mask_has_no_outline():
    assert outlines(np.zeros((5, 6), bool)) == []


def test_rings_are_joined_at_their_nearest_points():
    square = np.array([[0, 0], [9, 0], [9, 9], [0, 9]])
    hole = np.array([[5, 5], [8, 5], [8, 8], [5, 8]])
    walk = join_rings([square, hole])
    steps = {frozenset([tuple(one), tuple(other)]) for one, other in zip(walk, np.roll(walk, -1, axis=0), strict=True)}
    assert frozenset([(9, 9), (8, 8)]) in steps
    assert {tuple(point) for point in walk.tolist()} == {tuple(point) for point in [*square.tolist(), *hole.tolist()]}


def test_ways_between_rings_are_the_shortest_that_join_them_all():
    rng = np.random.default_rng(0)
    boxes = [np.array([[0, 0], [3, 0], [3, 2], [0, 2]]) + place for place in rng.integers(0, 40, (30, 2))]
    apart = [[cdist(one, other).min() for other in boxes] for one in boxes]
    # scipy takes 0 for no edge: rings that share a point
    shortest = minimum_spanning_tree(np.array(apart) + 1e-9 * (1 - np.eye(30))).sum()
    walk = join_rings(boxes)
    along = np.linalg.norm(walk - np.roll(walk, -1, axis=0), axis=1).sum()
    assert along == pytest.approx(30 * 10 + 2 * shortest)


def test_rings_on_one_line_are_joined():
    rings = [np.array([[0, place]]) for place in (0, 9, 4, 5)]
    walk = join_rings(rings)[:, 1].tolist()
    assert [place for place, _ in groupby(walk)] == [0, 4, 5, 9, 5, 4, 0]


@pytest.mark.parametrize("hole", [1, 4])
def test_thousands_of_holes_are_all_kept_and_take_no_minutes(hole):
    mask = np.ones((1000, 1000), bool)
    for row in range(hole):
        for column in range(hole):
            mask[10 + row :: 20, 10 + column :: 20] = False
    started = time.process_time()
    assert (drawn(mask) == mask).all()
    assert time.process_time() - started < 20  # about half a second; joined one after the other, over a minute


def test_simplified_rings_stay_within_the_tolerance():
    angles = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    ring = np.rint(50 * np.stack([np.cos(angles), np.sin(angles)], axis=1)).astype(int)
    few = ring[corners_of(ring, 1.0)]
    assert len(few) < 40
    ends = np.roll(few, -1, axis=0)
    along = ends - few
    for point in ring:
        share = ((point - few) * along).sum(axis=1) / (along**2).sum(axis=1)
        nearest = few + share.clip(0, 1)[:, None] * along
        assert np.linalg.norm(nearest - point, axis=1).min() <= 1.0
