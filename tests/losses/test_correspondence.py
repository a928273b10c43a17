import numpy as np
import pytest
import torch

from segtricks.losses import correspondence_loss, sample_points

SHIFTS = {"intra": 0.18, "inter": 0.12, "neg": 0.46}
WEIGHTS = {"intra": 0.67, "inter": 0.25, "neg": 0.63}
VARIANTS = {
    "": {},
    "_no_pointwise": {"pointwise": False},
    "_no_clamp": {"zero_clamp": False},
    "_stabilised": {"stabilize": True},
}


@pytest.fixture
def published(golden):
    return {name: torch.from_numpy(array) for name, array in np.load(golden / "u2seg_stego.npz").items()}


def _losses(given, **options):
    """The three terms, for codes that may need a gradient."""
    here, there = given["coords"], given["coords_pos"]
    features, code = (sample_points(given[name], here) for name in ("features", "code"))
    near, near_code = (sample_points(given[f"{name}_pos"], there) for name in ("features", "code"))
    negatives = []
    for order in given["permutations"]:
        far, far_code = (sample_points(given[name][order], there) for name in ("features", "code"))
        negatives.append(correspondence_loss(features, far, code, far_code, SHIFTS["neg"], **options))
    return {
        "intra": correspondence_loss(features, features, code, code, SHIFTS["intra"], **options),
        "inter": correspondence_loss(features, near, code, near_code, SHIFTS["inter"], **options),
        "neg": torch.stack(negatives).mean(),
    }


def test_sampled_points_equal_the_first_implementation(published):
    sampled = sample_points(published["features"], published["coords"])
    torch.testing.assert_close(sampled.mT, published["sampled_features"])


@pytest.mark.parametrize("variant", VARIANTS)
def test_losses_and_their_variants_equal_the_first_implementation(published, variant):
    for name, loss in _losses(published, **VARIANTS[variant]).items():
        torch.testing.assert_close(loss, published[f"{name}{variant}"], rtol=1e-5, atol=1e-7)


def test_gradients_equal_the_first_implementation_and_reach_the_codes_alone(published):
    given = published | {
        name: published[name].clone().requires_grad_() for name in ("code", "code_pos", "features", "features_pos")
    }
    total = sum(WEIGHTS[name] * loss for name, loss in _losses(given).items())
    total.backward()
    torch.testing.assert_close(total.detach(), published["total"], rtol=1e-5, atol=1e-7)
    for name in ("code", "code_pos"):
        torch.testing.assert_close(given[name].grad, published[f"total_grad_{name}"], rtol=1e-4, atol=1e-8)
    assert given["features"].grad is None and given["features_pos"].grad is None


def test_autocast_and_double_precision_change_no_digit():
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(2, 8, 5, 5, generator=generator) for _ in range(4)]
    expected = correspondence_loss(*maps, shift=0.1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert correspondence_loss(*maps, shift=0.1).equal(expected)
    assert correspondence_loss(*(part.double() for part in maps), shift=0.1).equal(expected)


def test_points_and_maps_may_differ_in_dtype():
    maps = torch.arange(6.0, dtype=torch.float64).view(1, 1, 2, 3)
    assert sample_points(maps, torch.tensor([[[[-1.0, -1.0], [1.0, 1.0]]]])).flatten().tolist() == [0.0, 5.0]
