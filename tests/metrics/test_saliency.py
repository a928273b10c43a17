import numpy as np
import pytest
import torch

from segtricks.metrics import (
    MASK_MEASURES,
    MaskIoU,
    MaxFBeta,
    PixelAccuracy,
    SaliencyScores,
    SaliencySums,
    get_protocol,
)


def _row(*values):
    return torch.tensor(values, dtype=torch.float64).reshape(1, 1, 1, -1)


def _scores(protocol, *pairs):
    scores = SaliencyScores(get_protocol(protocol))
    for pred, target in pairs:
        scores.update(pred, target)
    return {key: float(value) for key, value in scores.compute().items()}


def _f(precision, recall, beta2):
    return (1 + beta2) * precision * recall / (beta2 * precision + recall)


def test_default_protocol_equals_the_single_metrics():
    generator = torch.Generator().manual_seed(0)
    pred, target = torch.rand(5, 1, 9, 8, generator=generator), torch.rand(5, 1, 9, 8, generator=generator) > 0.6
    pred[1], target[1] = 0, False
    metrics = {"acc": PixelAccuracy(), "iou": MaskIoU(), "max_fbeta": MaxFBeta()}
    for metric in metrics.values():
        metric.update(pred, target)
    result = _scores("fullres", (pred, target))
    assert tuple(result) == MASK_MEASURES
    for key, metric in metrics.items():
        assert result[key] == pytest.approx(metric.compute().item(), abs=1e-12)


def test_maps_of_8_bits_take_a_short_way_to_the_same_thresholds():
    rng = np.random.default_rng(0)
    levels = torch.from_numpy(rng.integers(0, 256, (1, 1, 40, 40)))
    target = torch.from_numpy(rng.random((1, 1, 40, 40)) > 0.5)
    short, long = SaliencyScores(), SaliencyScores()
    short.update(levels.double() / 255, target)
    pred = levels.float() / 255
    pred[0, 0, 0, 0] = 0.5  # no level of 8 bits: every threshold is compared
    long.update(pred, target)
    changed = (short.f_curve() - long.f_curve()).abs().max()
    assert 0 < changed < 1 / 1600 * 4
    metric = MaxFBeta()
    metric.update(levels.float() / 255, target)
    assert torch.allclose(short.f_curve(), metric.curve(), atol=1e-12)


def test_toolboxes_take_f_of_mean_precision_and_recall_by_hand():
    first, second = (_row(1, 0, 0), _row(1, 0, 0)), (_row(1, 1, 0), _row(0, 0, 1))
    # At every threshold above 0: precision 1 and 0, recall 1 and 0; at 0 all is foreground.
    expected = {"precision_recall": _f(0.5, 0.5, 0.3), "images": 0.5}
    for average, value in expected.items():
        result = _scores(f"sod:f_average={average}", first, second)
        assert result["max_fbeta"] == pytest.approx(value)
        everything = _f(1 / 3, 1, 0.3)
        assert result["mean_fbeta"] == pytest.approx((255 * value + everything) / 256)


def test_each_images_own_maximum_is_taken_before_the_mean_with_beta_squared_twice():
    # The two images have their maxima at different thresholds.
    pairs = [(_row(0.9, 0.4), _row(1, 0)), (_row(0.3, 0.2), _row(1, 1))]
    assert _scores("selfmask", *pairs)["max_fbeta"] == pytest.approx(1)
    assert _scores("move", *pairs)["max_fbeta"] < 1
    pair = (_row(0.9, 0.9, 0.9), _row(1, 0, 0))
    assert _scores("found-multi", pair)["max_fbeta"] == pytest.approx(_f(1 / 3, 1, 0.09))
    assert _scores("fullres", pair)["max_fbeta"] == pytest.approx(_f(1 / 3, 1, 0.3))


def test_single_keeps_the_largest_component_alone():
    pair = (_row(1, 0, 1, 1), _row(1, 0, 1, 1))
    assert _scores("found-multi", pair)["iou"] == 1
    assert _scores("found-single", pair)["iou"] == pytest.approx(2 / 3)
    assert _scores("found-single", (_row(0.2, 0.1), _row(1, 0)))["iou"] == 0  # nothing above 0.5


@pytest.mark.parametrize(
    ("protocol", "foreground"),
    [("fullres", 2), ("sod", 2), ("move", 2), ("tokencut", 4), ("selfmask", 4), ("found-multi", 1)],
)
def test_target_is_cut_where_each_paper_cuts_it(protocol, foreground):
    target = torch.tensor([255, 128, 127, 1, 0], dtype=torch.uint8).reshape(1, 1, 1, 5)
    pred = torch.zeros(1, 1, 1, 5)
    assert _scores(protocol, (pred, target))["acc"] == pytest.approx(1 - foreground / 5)


def test_constant_map_is_not_stretched_and_an_empty_precision_is_0_for_the_toolboxes():
    result = _scores("sod", (_row(0, 0, 0, 0), _row(1, 0, 0, 0)))
    assert (result["mae"], result["acc"]) == (0.25, 0.75)
    # Only the threshold 0 finds anything.
    assert result["mean_fbeta"] == pytest.approx(_f(0.25, 1, 0.3) / 256)
    assert _scores("sod", (_row(0.2, 0.4), _row(0, 1)))["mae"] == 0  # stretched to 0 and 1


def test_empty_pair_counts_everywhere_but_in_iou():
    scores = SaliencyScores()
    scores.update(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2))
    scores.update(torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2, 2))
    assert scores.counts() == (2, 1)
    result = scores.compute()
    assert (result["iou"], result["acc"], result["mae"]) == (1, 1, 0)
    assert sum(entry["images"] for entry in scores.size_bins()) == 1


def test_an_object_that_fills_the_image_is_in_the_last_bin():
    scores = SaliencyScores()
    scores.update(torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2, 2))
    assert scores.size_bins()[-1] == {"from": 0.95, "to": 1.0, "images": 1, "iou": 1.0}
    assert scores.size_bins()[0]["iou"] is None


def test_state_does_not_grow_with_images_and_resets():
    scores = SaliencyScores()
    size = sum(getattr(scores, name).numel() for name in scores._defaults)
    for _ in range(3):
        scores.update(torch.rand(2, 1, 5, 5), torch.rand(2, 1, 5, 5) > 0.5)
    assert sum(getattr(scores, name).numel() for name in scores._defaults) == size
    scores.reset()
    assert int(scores.images) == 0


def test_merged_sums_are_those_of_all_images_and_of_the_metric():
    generator = torch.Generator().manual_seed(0)
    pred, target = torch.rand(5, 1, 9, 8, generator=generator), torch.rand(5, 1, 9, 8, generator=generator) > 0.6
    pred[1], target[1] = 0, False
    metric, first, second = SaliencyScores(), SaliencySums(), SaliencySums()
    metric.update(pred, target)
    first.update(pred[:2], target[:2])
    second.update(pred[2:], target[2:])
    first.merge(second)
    assert (first.counts(), first.size_bins()[0]["images"]) == (metric.counts(), metric.size_bins()[0]["images"])
    expected = metric.compute()
    assert {name: value.item() for name, value in first.compute().items()} == pytest.approx(
        {name: value.item() for name, value in expected.items()}, rel=1e-14
    )
