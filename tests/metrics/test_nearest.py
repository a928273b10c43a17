import numpy as np
import pytest

from segtricks.metrics.nearest import nearest_foreground


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.95])
def test_equals_trying_every_foreground_pixel_from_left_to_right(share):
    rng = np.random.default_rng(0)
    for _ in range(20):
        mask = rng.random(rng.integers(1, 14, 2)) < share
        mask[tuple(rng.integers(0, side) for side in mask.shape)] = True
        distance, row, column = nearest_foreground(mask)
        candidates = sorted(zip(*np.nonzero(mask), strict=True), key=lambda place: (place[1], place[0]))
        for y, x in np.ndindex(*mask.shape):
            best = min(candidates, key=lambda place, y=y, x=x: (place[0] - y) ** 2 + (place[1] - x) ** 2)
            assert (row[y, x], column[y, x]) == best
            assert distance[y, x] == (best[0] - y) ** 2 + (best[1] - x) ** 2


def test_empty_mask_is_refused():
    with pytest.raises(ValueError, match="empty mask"):
        nearest_foreground(np.zeros((2, 2), bool))
