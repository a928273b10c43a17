import numpy as np
import pytest
import torch

from segtricks.metrics import WeightedFBeta, weighted_fbeta


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
