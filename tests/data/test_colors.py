from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from segtricks.data.colors import BRIGHTNESS, CONTRAST, HUE, SATURATION, adjust_colors, draw_colors

JITTER = (0.4, 0.4, 0.2, 0.1)
TORCHVISION = {
    BRIGHTNESS: F.adjust_brightness,
    CONTRAST: F.adjust_contrast,
    SATURATION: F.adjust_saturation,
    HUE: F.adjust_hue,
}


def photos(count: int, size: int = 24) -> torch.Tensor:
    """Smooth colours with some noise, a gray, a black and a white patch, in [0, 1]."""
    smooth = torch.nn.functional.interpolate(torch.rand(count, 3, 4, 4), (size, size), mode="bicubic")
    images = (smooth + 0.1 * torch.randn(count, 3, size, size)).clamp(0, 1)
    images[:, :, :4, :4] = images[:, :1, :4, :4]
    images[:, :, 4:8, :4], images[:, :, 8:12, :4] = 0, 1
    return images


def steps(*pairs: tuple[int, float]) -> np.ndarray:
    """Colours of one image, filled up with what changes nothing."""
    return np.array([*pairs, *[(BRIGHTNESS, 1)] * (5 - len(pairs))], np.float32)


def seeds(count: int) -> Iterator[torch.Generator]:
    return (torch.Generator().manual_seed(seed) for seed in range(count))


@pytest.mark.parametrize("jitter", [JITTER, (0.4, 0.0, 1.5, 0.5), (0.0, 0.4, 0.2, 0.0)])
def test_the_same_seed_gives_torchvisions_very_image(jitter: tuple[float, ...]) -> None:
    reference = v2.Compose([v2.RandomApply([v2.ColorJitter(*jitter)], 0.8), v2.RandomGrayscale(0.2)])
    images = photos(60)
    colors = np.stack([draw_colors(jitter, 0.8, 0.2, generator) for generator in seeds(60)])
    expected = []
    for seed, image in enumerate(images):
        torch.manual_seed(seed)
        expected.append(reference(image))
    torch.testing.assert_close(adjust_colors(images, colors), torch.stack(expected), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("kind", "factors"),
    [
        (BRIGHTNESS, (0, 0.6, 1.4, 3)),
        (CONTRAST, (0, 0.6, 1.4, 3)),
        (SATURATION, (0, 0.8, 1.2, 3)),
        (HUE, (-0.5, -0.1, 0.03, 0.5)),
    ],
)
def test_one_adjustment_is_torchvisions(kind: int, factors: tuple[float, ...]) -> None:
    images = photos(4)
    adjusted = adjust_colors(images, np.stack([steps((kind, factor)) for factor in factors]))
    expected = [TORCHVISION[kind](image, factor) for image, factor in zip(images, factors, strict=True)]
    torch.testing.assert_close(adjusted, torch.stack(expected), atol=1e-5, rtol=0)
    assert (adjusted - images).abs().max() > 0.05


def test_a_jitter_of_nothing_leaves_the_image_as_it_is() -> None:
    images = photos(3)
    colors = np.stack([draw_colors(JITTER, 0, 0), draw_colors((0, 0, 0, 0), 1, 0), steps()])
    assert torch.equal(adjust_colors(images, colors), images)


def test_a_batch_is_its_images_one_by_one() -> None:
    images = photos(16)
    colors = np.stack([draw_colors(JITTER, 0.8, 0.2, generator) for generator in seeds(16)])
    alone = [adjust_colors(image[None], own[None])[0] for image, own in zip(images, colors, strict=True)]
    torch.testing.assert_close(adjust_colors(images, colors), torch.stack(alone), atol=1e-6, rtol=0)


def test_the_callers_images_and_colours_are_not_written_to() -> None:
    images = photos(8)
    colors = np.stack([draw_colors(JITTER, 1, 0.5) for _ in images])
    before = images.clone(), colors.copy()
    adjust_colors(images, colors)
    assert torch.equal(images, before[0])
    assert np.array_equal(colors, before[1])


def test_no_images_give_no_images() -> None:
    assert adjust_colors(torch.empty(0, 3, 8, 8), np.empty((0, 5, 2), np.float32)).shape == (0, 3, 8, 8)


def test_orders_factors_and_probabilities_are_those_asked_for() -> None:
    drawn = np.stack([draw_colors(JITTER, 0.8, 0.2, generator) for generator in seeds(2000)])
    jittered = drawn[(drawn[:, :4, 0] == HUE).any(1)]
    assert len(jittered) / len(drawn) == pytest.approx(0.8, abs=0.03)
    assert (drawn[:, 4] == (SATURATION, 0)).all(1).mean() == pytest.approx(0.2, abs=0.03)
    _, counts = np.unique(jittered[:, :4, 0], axis=0, return_counts=True)
    assert len(counts) == 24
    assert counts.min() > 0.5 * counts.mean()
    for kind, (low, high) in enumerate([(0.6, 1.4), (0.6, 1.4), (0.8, 1.2), (-0.1, 0.1)]):
        factors = jittered[:, :4][jittered[:, :4, 0] == kind][:, 1]
        assert low <= factors.min() < low + 0.01
        assert high - 0.01 < factors.max() <= high
        assert factors.mean() == pytest.approx((low + high) / 2, abs=0.03)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device to wait for")
def test_the_host_never_waits_for_the_device() -> None:
    images = photos(8)
    colors = np.stack([draw_colors(JITTER, 1, 0.5) for _ in images])
    expected, on_device = adjust_colors(images, colors), images.cuda()
    torch.cuda.set_sync_debug_mode("error")
    try:
        adjusted = adjust_colors(on_device, colors)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(adjusted.cpu(), expected, atol=1e-5, rtol=0)
