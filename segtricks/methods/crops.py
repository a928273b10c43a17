"""Enlarged random crops: the second scale of the multi-scale consistency."""

import torch
from torch import Tensor
from torch.nn.functional import interpolate


def random_corners(
    count: int, size: tuple[int, int], crop: tuple[int, int], generator: torch.Generator
) -> list[tuple[int, int]]:
    """Draw the top-left corners of ``count`` crops, uniformly over every pixel at which the crop fits.

    Args:
        count: number of crops.
        size: height and width of the image in pixels.
        crop: height and width of a crop in pixels, no larger than the image.
        generator: CPU generator; drawing on the CPU keeps the device unsynchronised.
    """
    tops = torch.randint(size[0] - crop[0] + 1, (count,), generator=generator).tolist()
    lefts = torch.randint(size[1] - crop[1] + 1, (count,), generator=generator).tolist()
    return list(zip(tops, lefts, strict=True))


def crop_and_enlarge(x: Tensor, corners: list[tuple[int, int]], crop: tuple[int, int]) -> Tensor:
    """Cut one crop out of every image of ``x`` (B, C, H, W) and enlarge it bilinearly to (B, C, H, W)."""
    height, width = crop
    cut = torch.stack(
        [image[:, top : top + height, left : left + width] for image, (top, left) in zip(x, corners, strict=True)]
    )
    return interpolate(cut, size=x.shape[-2:], mode="bilinear", align_corners=False)
