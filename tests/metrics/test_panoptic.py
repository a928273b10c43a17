"""Panoptic quality against panopticapi's figures, and on maps counted by hand."""

import numpy as np
import pytest
import torch

from segtricks.metrics import PanopticQuality


def _pixels(ids, info):
    categories = dict(info[:, :2].tolist()) | {0: -1}
    kinds = np.vectorize(categories.__getitem__)(ids)
    return torch.from_numpy(np.stack([kinds, ids], axis=-1)).long()


def test_equals_panopticapi_with_void_crowds_and_several_segments_of_stuff(golden):
    values = np.load(golden / "u2seg_panoptic_quality.npz")
    metric = PanopticQuality(values["thing_ids"].tolist(), values["stuff_ids"].tolist())
    for number, (target, prediction) in enumerate(zip(values["target"], values["prediction"], strict=True)):
        info = values[f"target_info_{number}"]
        pred, truth = _pixels(prediction, values[f"prediction_info_{number}"]), _pixels(target, info)
        crowd = torch.from_numpy(np.isin(target, info[info[:, 2] == 1, 0]))
        metric.update(pred[None], truth[None], crowd[None])
    scores = metric.compute()
    for suffix, name in (("", "all"), ("_things", "things"), ("_stuff", "stuff")):
        expected = dict(zip(("pq", "sq", "rq"), values[f"pq_{name}"], strict=True))
        assert {key: float(scores[f"{key}{suffix}"]) for key in expected} == pytest.approx(expected, abs=1e-6)
    assert list(scores["per_class"]) == values["per_class"][:, 0].astype(int).tolist()
    np.testing.assert_allclose(list(scores["per_class"].values()), values["per_class"][:, 1:], atol=1e-6)


def _strips(*strips):
    """One row of 10 pixels a strip of (category, segment, pixels)."""
    row = [(category, segment) for category, segment, pixels in strips for _ in range(pixels)]
    return torch.tensor(row)[None, None]


def test_void_of_the_target_is_left_out_of_the_union():
    metric = PanopticQuality([1], [2])
    metric.update(_strips((1, 1, 8), (-1, 0, 2)), _strips((1, 7, 4), (-1, 0, 6)))
    scores = metric.compute()
    assert float(scores["sq"]) == 1  # 4 of 8 pixels without the 4 on void
    assert scores["per_class"] == {1: (1, 1, 1)}
    assert scores["pq_stuff"].isnan()


def test_wrong_and_missed_segments_count_half():
    metric = PanopticQuality([1, 3], [2])
    # One match of IoU 4/5, one segment of class 1 that is not there, one of class 2 that is missed.
    metric.update(_strips((1, 1, 4), (1, 2, 6)), _strips((1, 1, 5), (2, 0, 5)))
    scores = metric.compute()
    assert scores["per_class"][1] == pytest.approx((0.8 * 1 / 1.5, 0.8, 1 / 1.5))
    assert scores["per_class"][2] == (0, 0, 0)
    assert float(scores["pq"]) == pytest.approx(0.8 / 1.5 / 2)


def test_impossible_categories_and_shapes_are_refused():
    with pytest.raises(ValueError, match="must differ"):
        PanopticQuality([1, 2], [2])
    metric = PanopticQuality([1], [2])
    with pytest.raises(ValueError, match=r"categories \[5\]"):
        metric.update(_strips((5, 0, 10)), _strips((1, 0, 10)))
    with pytest.raises(ValueError, match=r"\(B, H, W, 2\)"):
        metric.update(torch.zeros(1, 4, 4), torch.zeros(1, 4, 4))
