import numpy as np
import pytest
import torch

from segtricks.metrics import MaxFBeta
from segtricks.metrics.thresholds import threshold_counts


@pytest.mark.parametrize("batch", [1, 5, 24])
def test_equals_the_first_implementation_for_any_batch_size(golden, batch):
    values = np.load(golden / "metrics.npz")
    pred, target = torch.from_numpy(values["pred"]), torch.from_numpy(values["gt"])
    score = MaxFBeta()
    for start in range(0, len(pred), batch):
        score.update(pred[start : start + batch], target[start : start + batch])
    assert score.compute().item() == pytest.approx(values["max_fbeta_255"].item(), abs=1e-6)


def _f_by_definition(pred, truth, beta2):
    scores = []
    for k in range(255):
        chosen = pred > np.float32(k) / np.float32(255)
        hits = (chosen & truth).sum()
        precision = hits / chosen.sum() if chosen.any() else 1.0
        recall = hits / truth.sum() if truth.any() else 1.0
        scores.append((1 + beta2) * precision * recall / (beta2 * precision + recall) if precision + recall else 0.0)
    return np.array(scores)


def test_curve_equals_the_definition_threshold_by_threshold_with_ties_and_empty_masks():
    rng = np.random.default_rng(0)
    pred = rng.random((6, 9, 7)).astype(np.float32)
    pred[1] = (np.round(pred[1] * 255) / 255).astype(np.float32)  # every value a tie
    pred[2], pred[3] = 0, 1
    truth = rng.random((6, 9, 7)) > 0.6
    truth[4] = False
    truth[2] = truth[0]
    expected = np.mean([_f_by_definition(p, t, 0.3) for p, t in zip(pred, truth, strict=True)], axis=0)
    score = MaxFBeta()
    score.update(torch.from_numpy(pred)[:, None], torch.from_numpy(truth)[:, None])
    np.testing.assert_allclose(score.curve().numpy(), expected, atol=1e-12)
    assert score.compute().item() == pytest.approx(expected.max())


def test_value_on_a_threshold_is_not_above_it():
    thresholds = torch.arange(255) / 255
    pred = thresholds[10].reshape(1, 1, 1, 1)
    _, predicted = threshold_counts(pred, torch.ones(1, 1, 1, 1, dtype=torch.bool))
    assert predicted.sum() == 10


def test_every_float_beside_a_threshold_falls_on_its_right_side():
    thresholds = torch.arange(255) / 255
    one = torch.ones(255)
    near = [torch.nextafter(thresholds, 2 * one), thresholds, torch.nextafter(thresholds, -one)]
    pred = torch.cat([*near, torch.tensor([1.0, 0.0, 1.1, -0.1])])
    _, predicted = threshold_counts(pred.reshape(1, 1, 1, -1), torch.ones(1, 1, 1, len(pred), dtype=torch.bool))
    assert torch.equal(predicted[0], (pred[:, None] > thresholds).sum(dim=0).double())


def test_maximum_is_of_the_mean_and_not_the_mean_of_maxima():
    pred = torch.tensor([[0.9, 0.4], [0.3, 0.2]]).reshape(2, 1, 1, 2)
    target = torch.tensor([[1, 0], [1, 1]]).reshape(2, 1, 1, 2)
    score = MaxFBeta()
    score.update(pred, target)
    assert score.compute().item() < 1


def test_beta2_must_be_positive():
    with pytest.raises(ValueError, match="beta2"):
        MaxFBeta(beta2=0)
