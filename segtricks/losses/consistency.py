"""Agreement between masks of one image: fine with coarse, whole image with enlarged crop."""

import torch
from torch import Tensor
from torch.nn.functional import interpolate, mse_loss

_CLAMP = 1e-6


def self_consistency_loss(coarse: Tensor, fine: Tensor) -> Tensor:
    """Return the mean squared difference of the coarse mask and the fine mask reduced to its grid.

    The fine mask is reduced bilinearly without antialiasing; the gradient reaches both.

    Args:
        coarse: (B, 1, h, w) probabilities.
        fine: (B, 1, H, W) probabilities.
    """
    with torch.autocast(coarse.device.type, enabled=False):
        reduced = interpolate(fine.float(), size=coarse.shape[-2:], mode="bilinear", align_corners=False)
        return mse_loss(coarse.float(), reduced)


def multiscale_consistency_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean squared difference of the student's mask of a crop and the teacher's.

    Args:
        student: (B, 1, H, W) probabilities of the whole image, cropped and enlarged.
        teacher: (B, 1, H, W) probabilities of the enlarged crop; clamped to [1e-6, 1 - 1e-6], without gradient.

    Raises:
        ValueError: if the shapes differ.

    Source: Sari, Locatello and Favaro, arXiv 2404.03392, section 3.2.
    """
    if student.shape != teacher.shape:
        raise ValueError(f"student {tuple(student.shape)} and teacher {tuple(teacher.shape)} differ in shape")
    with torch.autocast(student.device.type, enabled=False):
        return mse_loss(student.float(), teacher.detach().float().clamp(_CLAMP, 1 - _CLAMP))
