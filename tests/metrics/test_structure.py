import pytest
import torch

from segtricks.metrics import StructureMeasure, structure_measure

ONE_PIXEL = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
ONE_PIXEL[0, 0, 1, 1] = True


def test_perfect_mask_scores_one_and_its_inverse_zero():
    truth = torch.zeros(1, 1, 6, 6, dtype=torch.bool)
    truth[..., 2:5, 1:4] = True
    assert structure_measure(truth.double(), truth).item() == pytest.approx(1)
    assert structure_measure((~truth).double(), truth).item() == pytest.approx(0)


@pytest.mark.parametrize(("filled", "expected"), [(False, 0.7), (True, 0.3)])
def test_empty_target_rewards_darkness_and_full_target_brightness(filled, expected):
    truth = torch.full((1, 1, 3, 3), filled)
    assert structure_measure(torch.full((1, 1, 3, 3), 0.3).double(), truth).item() == pytest.approx(expected)


def test_one_pixel_object_by_hand():
    pred = torch.zeros(1, 1, 4, 4, dtype=torch.float64)
    pred[0, 0, 1, 1] = 0.5
    # Object: 2·0.5/(0.25+1) = 0.8 for the pixel, 2·1/(1+1) = 1 for the background.
    objects = (0.8 + 15) / 16
    # Upper left 2×2: x = 1/8, y = 1/4, variances 1/16 and 1/4, covariance 1/8; the other parts are empty in both.
    part = 4 * (1 / 8) * (1 / 4) * (1 / 8) / ((1 / 64 + 1 / 16) * (1 / 16 + 1 / 4))
    regions = (4 * part + 12) / 16
    assert structure_measure(pred, ONE_PIXEL).item() == pytest.approx((objects + regions) / 2)
    assert structure_measure(pred, ONE_PIXEL, alpha=1.0).item() == pytest.approx(objects)
    assert structure_measure(pred, ONE_PIXEL, alpha=0.0).item() == pytest.approx(regions)


def test_object_in_the_last_corner_leaves_parts_without_pixels():
    truth = ONE_PIXEL.flip(2, 3).roll((1, 1), (2, 3))
    assert truth[0, 0, 3, 3]
    assert structure_measure(truth.double(), truth).item() == pytest.approx(1)


def test_image_of_one_pixel():
    one = torch.ones(1, 1, 1, 1)
    assert structure_measure(one * 0.4, one.bool()).item() == pytest.approx(0.4)


def test_alpha_outside_0_to_1_is_refused():
    with pytest.raises(ValueError, match="alpha"):
        StructureMeasure(alpha=1.5)
