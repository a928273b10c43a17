import numpy as np
import pytest
import torch

from segtricks.metrics import WeightedFBeta, weighted_fbeta
from segtricks.metrics.functional.weighted import nearest_foreground


def test_perfect_mask_scores_one_and_empty_target_zero():
    truth = torch.zeros(2, 1, 9, 9, dtype=torch.bool)
    truth[0, :, 3:6, 3:6] = True
    assert weighted_fbeta(truth.double(), truth).tolist() == pytest.approx([1, 0])


def test_false_pixel_weighs_more_the_farther_it_lies_from_the_object_by_hand():
    truth = torch.zeros(1, 1, 1, 12, dtype=torch.bool)
    truth[..., 0] = True
    for distance in (1, 5, 10):
        pred = truth.double()
        pred[..., distance] = 1
        # The object itself has no error: recall 1, precision 1/(1 + weight), F 2/(2 + weight).
        weight = 2 - 0.5 ** (distance / 5)
        assert weighted_fbeta(pred, truth).item() == pytest.approx(2 / (2 + weight))


def test_missed_pixel_of_a_small_object_is_forgiven_by_the_smoothing_by_hand():
    truth = torch.zeros(1, 1, 1, 2, dtype=torch.bool)
    truth[..., 0] = True
    g = np.exp(-(np.arange(-3, 4) ** 2) / 50)
    # Both pixels take the object's error 1; one row of the kernel, two of its columns, lies in the image.
    smooth = g[3] * (g[3] + g[4]) / g.sum() ** 2
    hits = recall = 1 - smooth
    precision = hits / (hits + 0)
    expected = 2 * precision * recall / (precision + recall)
    assert weighted_fbeta(torch.zeros(1, 1, 1, 2), truth).item() == pytest.approx(expected)


def test_beta2_must_be_positive():
    with pytest.raises(ValueError, match="beta2"):
        WeightedFBeta(beta2=0)


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
