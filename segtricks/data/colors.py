"""Colour jitter and grayscale of a whole batch, on whichever device it lies, with numbers drawn for each image before.

Drawing and adjusting are apart so that a loader's worker draws, image by image, and a GPU adjusts, batch by batch.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

Colors = NDArray[np.float32]
"""Steps of one image (5, 2) or of several (B, 5, 2), in their order: which adjustment, and its factor.

An array, because what moves batches to a device leaves arrays where they are: the host decides by them what to run.
"""

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
_STEPS = 5  # the four of the jitter, and grayscale: no saturation
_LUMINANCE = (0.2989, 0.587, 0.114)  # ITU-R 601 as torchvision rounds it


def draw_colors(
    jitter: Sequence[float], jitter_p: float, grayscale_p: float, generator: Generator | None = None
) -> Colors:
    """Steps (5, 2) of one image, as torchvision draws them from a generator in the same state.

    There they are ``v2.RandomApply([v2.ColorJitter(*jitter)], jitter_p)``, then ``v2.RandomGrayscale(grayscale_p)``.

    Args:
        jitter: Strengths of brightness, contrast, saturation and hue; factors are uniform in 1 ± strength, not below 0,
            and in 0 ± strength for the hue.
        jitter_p: Probability of the jitter, whose four adjustments come in random order.
        grayscale_p: Probability that saturation is taken away at last.
    """
    steps = np.tile(np.array([BRIGHTNESS, 1], np.float32), (_STEPS, 1))
    if torch.rand(1, generator=generator) < jitter_p:
        order = torch.randperm(4, generator=generator).tolist()
        factors = [
            _uniform(max(0, centre - strength), centre + strength, generator) if strength else centre
            for centre, strength in zip((1, 1, 1), jitter[:3], strict=True)
        ]
        factors.append(_uniform(-jitter[HUE], jitter[HUE], generator) if jitter[HUE] else 0)
        steps[:4] = [(kind, factors[kind]) for kind in order]
    if torch.rand(1, generator=generator) < grayscale_p:
        steps[4] = SATURATION, 0
    return steps


def adjust_colors(rgb01: Tensor, colors: Colors) -> Tensor:
    """Images (B, 3, H, W) in [0, 1] after their steps (B, 5, 2), as torchvision's float functions adjust them.

    Brightness, contrast and saturation are blends with something gray and run together; the hue runs on those images
    whose turn it is. Nothing here waits for the device.
    """
    kinds, factors = colors[..., 0].T, colors[..., 1].T
    blends = np.where(kinds == HUE, np.float32(1), factors)
    plan = _to(np.stack([blends, kinds == CONTRAST, kinds == SATURATION, factors]).astype(np.float32), rgb01)
    for step in range(_STEPS):
        factor, mean, gray, shift = plan[:, step, :, None, None, None]
        changed = blends[step] != 1
        if np.any(changed & (kinds[step] != BRIGHTNESS)):
            luminance = _luminance(rgb01)
            reference = gray * luminance + mean * luminance.mean((1, 2, 3), keepdim=True)
            rgb01 = torch.lerp(reference, rgb01, factor).clamp_(0, 1)
        elif changed.any():
            rgb01 = (rgb01 * factor).clamp_(0, 1)
        turned = np.flatnonzero((kinds[step] == HUE) & (factors[step] != 0))
        if len(turned):
            place = _to(turned, rgb01)
            rgb01 = rgb01.index_copy(0, place, _shift_hue(rgb01[place], shift[place]))
    return rgb01


def _shift_hue(rgb01: Tensor, shift: Tensor) -> Tensor:
    """Images (B, 3, H, W) with their hues moved by ``shift`` (B, 1, 1, 1), in turns of the colour wheel.

    HSV without its detour over saturation, three times as fast as kornia's two conversions: a channel is the largest
    one less the colour's range times a trapezium of the hue.
    """
    largest = rgb01.amax(1, keepdim=True)
    extent = largest - rgb01.amin(1, keepdim=True)
    red, green, blue = rgb01.split(1, dim=1)
    some = extent.clamp_min(1e-8)
    if_green, if_blue = (blue - red) / some + 2, (red - green) / some + 4
    sixths = torch.where(red == largest, (green - blue) / some, torch.where(green == largest, if_green, if_blue))
    sixths += 6 * shift
    channels = []
    for start in (5, 3, 1):
        place = (sixths + start) % 6
        channels.append(largest - extent * torch.minimum(place, 4 - place).clamp_(0, 1))
    return torch.cat(channels, dim=1)


def _luminance(rgb01: Tensor) -> Tensor:
    red, green, blue = (channel * weight for channel, weight in zip(rgb01.split(1, dim=1), _LUMINANCE, strict=True))
    return red + green + blue


def _uniform(low: float, high: float, generator: Generator | None) -> float:
    return float(torch.empty(1).uniform_(low, high, generator=generator))


def _to(array: NDArray[np.generic], like: Tensor) -> Tensor:
    # Without waiting where that is safe: CUDA reads such a small array before it returns.
    return torch.from_numpy(array).to(like.device, non_blocking=like.is_cuda)
