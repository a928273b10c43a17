import copy
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from segtricks.backbones import create_backbone
from segtricks.backbones.descriptor import patch_statistics

MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


def normalised(rgb01: Tensor) -> Tensor:
    return (rgb01 - MEAN) / STD


def smooth_noise(height: int, width: int, seed: int = 0) -> Tensor:
    """An image with structure at several scales, (1, 3, H, W) in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    scales = [torch.rand(1, 3, height // k, width // k, generator=generator) for k in (2, 8, 16)]
    return sum(F.interpolate(noise, (height, width), mode="bilinear") for noise in scales) / 3


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB (D65) of sRGB in [0, 1], (H, W, 3), from the standard's formulas."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    matrix = np.array(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    )
    xyz = linear @ matrix.T / np.array([0.95047, 1.0, 1.08883])
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], axis=-1)


def statistics_by_hand(rgb: np.ndarray, patch: int) -> np.ndarray:
    """(h, w, 7): scaled mean colour, then smoothed deviation and gradient, patch by patch."""
    colour = lab(rgb)
    height, width = rgb.shape[0] // patch, rgb.shape[1] // patch
    light = np.pad(colour[..., 0], 1, mode="edge")
    slope = np.hypot((light[1:-1, 2:] - light[1:-1, :-2]) / 2, (light[2:, 1:-1] - light[:-2, 1:-1]) / 2)
    mean, texture = np.zeros((height, width, 3)), np.zeros((height, width, 4))
    for y in range(height):
        for x in range(width):
            window = np.s_[y * patch : (y + 1) * patch, x * patch : (x + 1) * patch]
            mean[y, x] = colour[window].mean((0, 1)) * 0.038
            texture[y, x, :3] = colour[window].std((0, 1)) * 0.019
            texture[y, x, 3] = slope[window].mean() * 0.152
    smoothed = np.zeros_like(texture)
    for y in range(height):
        for x in range(width):
            smoothed[y, x] = texture[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2].mean((0, 1))
    return np.concatenate([mean, smoothed], axis=-1)


@pytest.mark.parametrize("patch", [4, 8, 16])
def test_statistics_equal_those_computed_patch_by_patch(patch: int) -> None:
    image = smooth_noise(48, 64)
    expected = statistics_by_hand(image[0].permute(1, 2, 0).double().numpy(), patch)
    statistics = patch_statistics(image, patch)[0].permute(1, 2, 0)
    np.testing.assert_allclose(statistics.numpy(), expected, atol=2e-3)


def test_cosine_is_the_gaussian_kernel_of_the_statistics_distance() -> None:
    image = smooth_noise(64, 96)
    statistics = statistics_by_hand(image[0].permute(1, 2, 0).double().numpy(), 8).reshape(-1, 7)
    kernel = np.exp(-((statistics[:, None] - statistics[None]) ** 2).sum(-1) / 2)
    features = create_backbone("descriptor")(normalised(image))[0].flatten(1).T
    cosine = F.normalize(features) @ F.normalize(features).T
    assert kernel.min() < 0.5, "patches too alike to tell anything"
    error = np.abs(cosine.numpy() - kernel)
    assert error.mean() < 0.05 and error.max() < 0.25
    torch.testing.assert_close(features.norm(dim=1), torch.full((len(features),), 384**0.5))


@pytest.mark.parametrize(("name", "patch"), [("descriptor", 8), ("descriptor16", 16), ("descriptor4", 4)])
def test_name_tells_the_patch_size(name: str, patch: int) -> None:
    backbone = create_backbone(name)
    assert (backbone.patch_size, backbone.feature_dim) == (patch, 384)
    assert backbone(torch.zeros(2, 3, 32, 48)).shape == (2, 384, 32 // patch, 48 // patch)


def test_threshold_parts_a_red_square_from_green_grass() -> None:
    generator = torch.Generator().manual_seed(3)
    image = torch.tensor([0.2, 0.6, 0.2]).view(1, 3, 1, 1) + 0.1 * torch.rand(1, 3, 96, 96, generator=generator)
    image[..., 32:64, 32:64] = torch.tensor([0.8, 0.2, 0.2]).view(3, 1, 1)
    inside = torch.zeros(12, 12, dtype=torch.bool)
    inside[4:8, 4:8] = True
    backbone = create_backbone("descriptor")
    features = F.normalize(backbone(normalised(image))[0].flatten(1).T)
    alike = features @ features.T > backbone.tau
    same = inside.flatten()[:, None] == inside.flatten()[None]
    assert torch.equal(alike, same)


def test_feature_depends_on_its_own_patch_and_the_eight_around_it() -> None:
    backbone = create_backbone("descriptor")
    image = smooth_noise(96, 96)
    changed = image.clone()
    changed[..., 49:55, 41:47] = 1 - changed[..., 49:55, 41:47]  # inside patch (6, 5), off its border
    moved = (backbone(normalised(image)) - backbone(normalised(changed))).abs().amax(1)[0] > 1e-4
    expected = torch.zeros(12, 12, dtype=torch.bool)
    expected[5:8, 4:7] = True
    assert torch.equal(moved, expected)


def test_two_instances_and_a_batch_agree_bit_for_bit() -> None:
    images = normalised(torch.cat([smooth_noise(32, 48, seed) for seed in (0, 1)]))
    together = create_backbone("descriptor")(images)
    torch.testing.assert_close(create_backbone("descriptor")(images[1:]), together[1:], atol=1e-6, rtol=0)
    assert torch.equal(create_backbone("descriptor")(images), together)


def test_autocast_does_not_round_and_low_precision_stays_close() -> None:
    backbone, images = create_backbone("descriptor"), normalised(smooth_noise(64, 64))
    expected = backbone(images)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(backbone(images), expected, atol=0, rtol=0)
    low = copy.deepcopy(backbone).bfloat16()(images.bfloat16())
    assert low.dtype == torch.bfloat16
    assert F.cosine_similarity(low.float(), expected).min() > 0.98


def test_frequencies_are_pinned_so_that_a_trained_head_fits_tomorrow() -> None:
    frequencies = create_backbone("descriptor").frequencies
    torch.testing.assert_close(frequencies[0, :3], torch.tensor([-1.1258, -1.1524, -0.2506]), atol=1e-4, rtol=0)
    torch.testing.assert_close(frequencies[-1, -3:], torch.tensor([-1.1054, -0.1442, -0.3463]), atol=1e-4, rtol=0)


def test_nothing_of_it_enters_a_checkpoint() -> None:
    assert create_backbone("descriptor").state_dict() == {}


def test_an_enlarged_crop_of_a_photograph_stays_alike_above_the_threshold(photographs: Path) -> None:
    backbone = create_backbone("descriptor")
    alike = []
    for path in sorted((photographs / "ECSSD" / "images").iterdir())[:6]:
        with Image.open(path) as file:
            pixels = np.asarray(file.convert("RGB").resize((256, 192)))
        image = normalised(torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None] / 255)
        crop = F.interpolate(image[..., 48:144, 64:192], scale_factor=2, mode="bilinear", align_corners=False)
        enlarged = F.interpolate(backbone(image)[..., 6:18, 8:24], scale_factor=2, mode="nearest")
        alike.append(F.cosine_similarity(backbone(crop), enlarged) > backbone.tau)
    assert torch.stack(alike).float().mean() > 0.95
