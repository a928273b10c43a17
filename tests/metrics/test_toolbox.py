"""Agreement with pysodmetrics, an independent implementation; skipped where it is not installed."""

import json
import warnings

import numpy as np
import pytest
import torch

from segtricks.data import read_mask
from segtricks.metrics import (
    EnhancedAlignmentMeasure,
    MeanAbsoluteError,
    SaliencyScores,
    StructureMeasure,
    WeightedFBeta,
    get_protocol,
)

sod = pytest.importorskip("py_sod_metrics", reason="pysodmetrics is not installed", exc_type=ImportError)


def _toolbox(pairs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        judges = {"fm": sod.Fmeasure(), "mae": sod.MAE(), "sm": sod.Smeasure(), "em": sod.Emeasure()}
        judges["wfm"] = sod.WeightedFmeasure()
        for pred, mask in pairs:
            for judge in judges.values():
                judge.step(pred=pred, gt=mask)
    results = {name: judge.get_results()[name] for name, judge in judges.items()}
    pr = judges["fm"].get_results()["pr"]
    p, r = pr["p"], pr["r"]
    f = np.divide(1.3 * p * r, 0.3 * p + r, out=np.zeros_like(p), where=(p + r) > 0)
    return {
        "mae": results["mae"],
        "s_measure": results["sm"],
        "weighted_fbeta": results["wfm"],
        "e_measure_max": results["em"]["curve"].max(),
        "e_measure_mean": results["em"]["curve"].mean(),
        "e_measure_adaptive": results["em"]["adp"],
        "adaptive_fbeta": results["fm"]["adp"],
        "max_fbeta": f.max(),
        "mean_fbeta": f.mean(),
    }


def _random_pairs(seed, count=6):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        height, width = rng.integers(20, 70, 2)
        mask = np.zeros((height, width), np.uint8)
        y, x = rng.integers(0, height // 2), rng.integers(0, width // 2)
        mask[y : y + height // 3, x : x + width // 3] = 255
        mask[rng.random((height, width)) < 0.02] = 255
        noise = rng.integers(0, 256, (height, width))
        yield (noise * rng.choice([0.2, 0.7, 1]) + mask * rng.choice([0, 0.3])).clip(0, 255).astype(np.uint8), mask


def _tensors(pred, mask, dtype=torch.float64):
    return (torch.from_numpy(pred)[None, None].to(dtype) / 255), torch.from_numpy(mask)[None, None]


def _ours(pairs, dtype=torch.float64):
    scores = SaliencyScores(get_protocol("sod"))
    for pred, mask in pairs:
        scores.update(*_tensors(pred, mask, dtype))
    return {key: float(value) for key, value in scores.compute().items()}


@pytest.mark.parametrize("seed", range(4))
def test_every_measure_of_soft_random_maps_is_the_toolboxes(seed):
    pairs = list(_random_pairs(seed))
    expected, ours = _toolbox(pairs), _ours(pairs)
    assert {key: ours[key] for key in expected} == pytest.approx(expected, abs=1e-6)


def test_single_precision_loses_no_level_of_maps_that_need_no_stretching():
    pairs = list(_random_pairs(9))
    for pred, _ in pairs:
        pred.flat[:2] = (0, 255)
    assert _ours(pairs, torch.float32) == pytest.approx(_ours(pairs), abs=1e-6)


@pytest.mark.parametrize(("metric", "key"), [(MeanAbsoluteError, "mae"), (StructureMeasure, "s_measure")])
def test_metrics_alone_give_what_the_protocol_gives(metric, key):
    pairs = list(_random_pairs(3))
    for pred, _ in pairs:
        pred.flat[:2] = (0, 255)  # nothing to stretch
    score = metric()
    for pred, mask in pairs:
        score.update(*_tensors(pred, mask))
    assert score.compute().item() == pytest.approx(_toolbox(pairs)[key], abs=1e-6)


def test_weighted_f_and_alignment_alone_give_what_the_toolbox_gives():
    pairs = list(_random_pairs(5))
    for pred, _ in pairs:
        pred.flat[:2] = (0, 255)
    weighted, alignment, expected = WeightedFBeta(), EnhancedAlignmentMeasure(), _toolbox(pairs)
    for pred, mask in pairs:
        weighted.update(*_tensors(pred, mask))
        alignment.update(*_tensors(pred, mask))
    assert weighted.compute().item() == pytest.approx(expected["weighted_fbeta"], abs=1e-6)
    for name, value in alignment.compute().items():
        assert value.item() == pytest.approx(expected[f"e_measure_{name}"], abs=1e-6)


def test_empty_and_full_targets_are_the_toolboxes():
    rng = np.random.default_rng(1)
    pred = rng.integers(0, 256, (3, 21, 17), dtype=np.uint8)
    masks = [np.zeros((21, 17), np.uint8), np.full((21, 17), 255, np.uint8), np.zeros((21, 17), np.uint8)]
    masks[2][4, 5] = 255  # one pixel
    pairs = list(zip(pred, masks, strict=True))
    expected, ours = _toolbox(pairs), _ours(pairs)
    assert {key: ours[key] for key in expected} == pytest.approx(expected, abs=1e-6)


def test_real_maps_give_the_published_figures_of_every_release(photographs):
    folder = photographs / "pysodmetrics"
    published = json.loads((folder / "version_performance.json").read_text())["v1_4_3"]
    scores = SaliencyScores(get_protocol("sod:f_average=images,f_empty=0"))
    for path in sorted((folder / "masks").iterdir()):
        scores.update(read_mask(folder / "preds" / path.name)[None].double() / 255, read_mask(path)[None])
    names = {
        "mae": "MAE",
        "s_measure": "Smeasure",
        "weighted_fbeta": "wFmeasure",
        "e_measure_max": "maxEm",
        "e_measure_mean": "meanEm",
        "e_measure_adaptive": "adpEm",
        "max_fbeta": "maxFm",
        "mean_fbeta": "meanFm",
        "adaptive_fbeta": "adpFm",
    }
    ours = {key: float(value) for key, value in scores.compute().items()}
    assert {key: ours[key] for key in names} == pytest.approx(
        {key: published[name] for key, name in names.items()}, abs=1e-6
    )
