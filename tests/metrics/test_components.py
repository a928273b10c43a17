import numpy as np
import pytest

from segtricks.metrics import connected_components


def _flood(mask):
    """Label by walking from pixel to pixel."""
    labels = np.zeros(mask.shape, int)
    for start in zip(*np.nonzero(mask), strict=True):
        if labels[start]:
            continue
        number, stack = labels.max() + 1, [start]
        while stack:
            y, x = stack.pop()
            if 0 <= y < mask.shape[0] and 0 <= x < mask.shape[1] and mask[y, x] and not labels[y, x]:
                labels[y, x] = number
                stack += [(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)]
    return labels


@pytest.mark.parametrize("share", [0.1, 0.5, 0.6, 1.0])
def test_equal_flood_filling_in_number_order_area_and_box(share):
    rng = np.random.default_rng(1)
    for _ in range(15):
        mask = rng.random(rng.integers(1, 25, 2)) < share
        labels, found = _flood(mask), connected_components(mask)
        assert len(found.area) == len(found.boxes) == labels.max()
        for i in range(len(found.area)):
            y, x = np.nonzero(labels == i + 1)
            assert np.array_equal(found.mask(i), labels == i + 1)
            assert found.area[i] == len(y)
            assert found.boxes[i].tolist() == [x.min(), y.min(), x.max() + 1, y.max() + 1]
            assert found.at(y[0], x[0]) == i


def test_corners_do_not_join_and_row_ends_do_not_wrap():
    assert len(connected_components(np.eye(3, dtype=bool)).area) == 3
    assert len(connected_components(np.array([[0, 1], [1, 0]], bool)).area) == 2


def test_spiral_is_one_component():
    mask = np.zeros((41, 41), bool)
    y, x, dy, dx = 0, 0, 0, 1
    for length in [40, *(n for n in range(40, 0, -2) for _ in range(2))]:
        for _ in range(length):
            mask[y, x] = True
            y, x = y + dy, x + dx
        dy, dx = dx, -dy
    assert len(connected_components(mask).area) == 1 == _flood(mask).max()


def test_no_foreground_has_no_component():
    found = connected_components(np.zeros((3, 4), bool))
    assert len(found.area) == 0
    assert found.largest() is None
    assert found.at(0, 0) is None
