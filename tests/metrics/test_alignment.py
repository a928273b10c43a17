import numpy as np
import pytest
import torch

from segtricks.metrics import EnhancedAlignmentMeasure


def _by_definition(binary, truth):
    """Equations 1-4 of the paper, pixel by pixel."""
    if not truth.any():
        matrix = 1.0 - binary
    elif truth.all():
        matrix = 1.0 * binary
    else:
        a, b = binary - binary.mean(), truth - truth.mean()
        matrix = (2 * a * b / (a * a + b * b + np.spacing(1)) + 1) ** 2 / 4
    return matrix.sum() / (matrix.size - 1)


def test_all_three_equal_the_definition_pixel_by_pixel_with_ties_and_empty_masks():
    rng = np.random.default_rng(0)
    pred = rng.integers(0, 256, (5, 8, 9)) / 255
    truth = rng.random((5, 8, 9)) > 0.6
    truth[1], truth[2], pred[3], pred[4] = False, True, 0, 1
    expected = np.array(
        [[_by_definition(p * 255 >= k - 1e-9, t) for k in range(256)] for p, t in zip(pred, truth, strict=True)]
    ).mean(axis=0)
    adaptive = [_by_definition(p >= min(2 * p.mean(), 1), t) for p, t in zip(pred, truth, strict=True)]
    score = EnhancedAlignmentMeasure()
    score.update(torch.from_numpy(pred[:2, None]), torch.from_numpy(truth[:2, None]))
    score.update(torch.from_numpy(pred[2:, None]), torch.from_numpy(truth[2:, None]))
    np.testing.assert_allclose(score.curve().numpy(), expected, atol=1e-12)
    result = {name: value.item() for name, value in score.compute().items()}
    assert result == pytest.approx(
        {"max": expected.max(), "mean": expected.mean(), "adaptive": np.mean(adaptive)}, abs=1e-12
    )


def test_image_of_one_pixel_divides_by_one():
    score = EnhancedAlignmentMeasure()
    score.update(torch.ones(1, 1, 1, 1), torch.ones(1, 1, 1, 1))
    assert score.compute()["max"] == 1
