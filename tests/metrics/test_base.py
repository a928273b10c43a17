import pytest
import torch
from torchmetrics import MetricCollection

from segtricks.metrics import (
    CorLoc,
    EnhancedAlignmentMeasure,
    MaskIoU,
    MaxFBeta,
    MeanAbsoluteError,
    PixelAccuracy,
    SaliencyScores,
    StructureMeasure,
    WeightedFBeta,
    get_protocol,
)

PERFECT = torch.zeros(1, 1, 16, 16)
PERFECT[..., 4:9, 3:12] = 1
SOFT = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
TRUTH = (SOFT.flip(-1) > 0.6).float()


@pytest.mark.parametrize(
    "metrics",
    [
        {"acc": PixelAccuracy, "s": StructureMeasure, "w": WeightedFBeta, "e": MeanAbsoluteError},
        {"at_half": MaskIoU, "high": lambda: MaskIoU(threshold=0.8)},
        {"one": lambda: WeightedFBeta(1.0), "other": lambda: WeightedFBeta(0.3)},
        {"full": SaliencyScores, "sod": lambda: SaliencyScores(get_protocol("sod"))},
    ],
)
def test_a_collection_gives_what_each_metric_gives_alone_also_after_a_perfect_first_batch(metrics):
    together = MetricCollection({name: make() for name, make in metrics.items()})
    alone = {name: make() for name, make in metrics.items()}
    for pred, truth in ((PERFECT, PERFECT), (SOFT, TRUTH)):
        together.update(pred, truth)
        for metric in alone.values():
            metric.update(pred, truth)
    assert len(together.compute_groups) == len(metrics)
    for name, metric in alone.items():
        ours = together[name].compute()
        torch.testing.assert_close(ours, metric.compute(), rtol=0, atol=0, equal_nan=True)


def test_corloc_of_two_rules_stays_two():
    masks, boxes = torch.zeros(1, 1, 20, 20), [torch.tensor([[0.0, 0, 20, 2]])]
    masks[..., :2, :] = masks[..., 8:13, 8:16] = 1
    masks[..., 8:13, 7] = 0
    both = MetricCollection({"box": CorLoc(), "area": CorLoc("largest_area")})
    both.update(torch.zeros(1, 1, 20, 20), [torch.tensor([[1.0, 1, 4, 4]])])
    both.update(masks, boxes)
    assert len(both.compute_groups) == 2


METRICS = [
    *(PixelAccuracy, MaskIoU, MaxFBeta, MeanAbsoluteError),
    *(StructureMeasure, EnhancedAlignmentMeasure, WeightedFBeta, SaliencyScores),
]


@pytest.mark.parametrize("make", METRICS)
@pytest.mark.parametrize(
    ("pred", "message"),
    [
        (torch.logit(SOFT), r"got values from -\S+ to \S+: pass pred\.sigmoid\(\) of logits"),
        (SOFT * 255, r"got values from \S+ to 25\S+: .*pred / 255"),
        (SOFT - 0.1, r"got values from -0\.0\S+ to .*clamp\(0, 1\)"),
        (SOFT.where(SOFT < 0.9, torch.nan), "not finite"),
        (SOFT.where(SOFT < 0.9, torch.inf), "not finite"),
    ],
)
def test_what_is_not_a_probability_is_refused_with_what_to_pass(make, pred, message):
    metric = make()
    with pytest.raises(ValueError, match=message):
        metric.update(pred, TRUTH)
    metric.update(SOFT * (1 + 1e-6), TRUTH)  # rounding of a resized mask
