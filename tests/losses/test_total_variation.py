import math

import pytest
import torch

from segtricks.losses import feature_tv_loss, image_tv_loss


def test_image_term_equals_the_first_implementation(values):
    loss = image_tv_loss(values["image"], values["fine_mask"])
    torch.testing.assert_close(loss, values["fine_tv"], rtol=1e-5, atol=0)


def test_feature_term_equals_the_first_implementation(values):
    loss = feature_tv_loss(values["features"], values["coarse_mask"])
    torch.testing.assert_close(loss, values["coarse_tv"], rtol=1e-5, atol=0)


def _by_loops(mask, weight):
    """The definition, pixel by pixel, with reflected borders."""
    height, width = mask.shape
    reflect = lambda i, n: -i if i < 0 else 2 * n - 2 - i if i >= n else i  # noqa: E731
    total = 0.0
    for y in range(height):
        for x in range(width):
            for dy in (-1, 0, 1):
                for dx in (-1, 0, 1):
                    if dy or dx:
                        other = reflect(y + dy, height), reflect(x + dx, width)
                        total += weight((y, x), other) * (mask[y, x] - mask[other]).item() ** 2
    return total / (8 * height * width)


def test_image_term_equals_the_definition_pixel_by_pixel():
    image, mask = torch.randn(1, 3, 4, 5), torch.rand(1, 1, 4, 5)
    weight = lambda a, b: math.exp(-(image[0, :, *a] - image[0, :, *b]).square().sum().item() / 0.7)  # noqa: E731
    assert image_tv_loss(image, mask, sigma=0.7).item() == pytest.approx(_by_loops(mask[0, 0], weight), rel=1e-5)


def test_feature_term_equals_the_definition_patch_by_patch():
    features, mask = torch.randn(1, 2, 4, 3), torch.rand(1, 1, 4, 3)

    def weight(a, b):
        return 1.0 if torch.cosine_similarity(features[0, :, *a], features[0, :, *b], dim=0) > 0.3 else 0.05

    expected = _by_loops(mask[0, 0], weight)
    assert feature_tv_loss(features, mask, tau=0.3, eps=0.05).item() == pytest.approx(expected, rel=1e-5)


def test_constant_mask_costs_nothing():
    assert image_tv_loss(torch.randn(1, 3, 4, 4), torch.full((1, 1, 4, 4), 0.3)) == 0


def test_gradient_reaches_the_mask_only():
    image, mask = torch.randn(1, 3, 4, 4, requires_grad=True), torch.rand(1, 1, 4, 4, requires_grad=True)
    image_tv_loss(image, mask).backward()
    assert image.grad is None
    assert mask.grad.abs().sum() > 0


@pytest.mark.parametrize("sigma", [0.0, -1.0, float("nan")])
def test_sigma_must_be_positive(sigma):
    with pytest.raises(ValueError, match="sigma"):
        image_tv_loss(torch.randn(1, 3, 4, 4), torch.rand(1, 1, 4, 4), sigma=sigma)
