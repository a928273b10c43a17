import numpy as np
import pytest
import torch

from segtricks.metrics import MaskIoU, MeanAbsoluteError, PixelAccuracy


@pytest.fixture(scope="module")
def masks(golden):
    values = np.load(golden / "metrics.npz")
    return values, torch.from_numpy(values["pred"]), torch.from_numpy(values["gt"])


@pytest.mark.parametrize(("metric", "name"), [(PixelAccuracy, "accuracy"), (MaskIoU, "iou")])
@pytest.mark.parametrize("batch", [1, 5, 24])
def test_equals_the_first_implementation_for_any_batch_size(masks, metric, name, batch):
    values, pred, target = masks
    score = metric()
    for start in range(0, len(pred), batch):
        score.update(pred[start : start + batch], target[start : start + batch])
    assert score.compute().item() == pytest.approx(values[name].item(), abs=1e-6)


def test_image_empty_in_both_is_left_out_of_iou_and_counted():
    pred = torch.tensor([[0.9, 0.1], [0.1, 0.1]]).reshape(2, 1, 1, 2)
    target = torch.tensor([[1, 1], [0, 0]]).reshape(2, 1, 1, 2)
    iou = MaskIoU()
    iou.update(pred, target)
    assert iou.compute() == 0.5
    assert iou.empty == 1


def test_one_half_is_background():
    iou, accuracy = MaskIoU(), PixelAccuracy()
    pred, target = torch.tensor([0.5, 0.6]).reshape(1, 1, 1, 2), torch.tensor([1.0, 1.0]).reshape(1, 1, 1, 2)
    iou.update(pred, target)
    accuracy.update(pred, target)
    assert iou.compute() == accuracy.compute() == 0.5


@pytest.mark.parametrize(
    "target",
    [
        torch.tensor([False, True]),
        torch.tensor([0, 1]),
        torch.tensor([127, 128], dtype=torch.uint8),
        torch.tensor([0.5, 0.51]),
    ],
)
def test_targets_of_every_dtype_mean_the_same(target):
    iou = MaskIoU()
    iou.update(torch.tensor([0.0, 1.0]).reshape(1, 1, 1, 2), target.reshape(1, 1, 1, 2))
    assert iou.compute() == 1


def test_sizes_that_differ_are_refused():
    with pytest.raises(ValueError, match="of one size"):
        MaskIoU().update(torch.rand(1, 1, 2, 2), torch.rand(1, 1, 2, 3))


def test_hard_integer_predictions_are_refused():
    with pytest.raises(ValueError, match="probabilities"):
        MaskIoU().update(torch.ones(1, 1, 2, 2, dtype=torch.uint8), torch.rand(1, 1, 2, 2))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_no_numbers_are_refused(value):
    pred = torch.rand(1, 1, 4, 4)
    pred[0, 0, 1, 2] = value
    with pytest.raises(ValueError, match="not finite"):
        MaskIoU().update(pred, torch.ones(1, 1, 4, 4))


def test_is_the_mean_over_images_and_not_over_pixels_of_all_of_them():
    score = MeanAbsoluteError()
    score.update(torch.tensor([0.5, 1.0]).reshape(1, 1, 1, 2), torch.tensor([0, 1]).reshape(1, 1, 1, 2))
    score.update(torch.ones(1, 1, 4, 4), torch.zeros(1, 1, 4, 4))
    assert score.compute() == (0.25 + 1) / 2


def test_target_of_0_to_255_is_cut_before_the_difference():
    score = MeanAbsoluteError()
    score.update(torch.tensor([0.0, 1.0]).reshape(1, 1, 1, 2), torch.tensor([127, 128]).reshape(1, 1, 1, 2))
    assert score.compute() == 0
