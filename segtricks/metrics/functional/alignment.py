"""The enhanced alignment measure, from the four counts of a binary map alone."""

import torch
from torch import Tensor

_EPS = torch.finfo(torch.float64).eps


def enhanced_alignment(hits: Tensor, predicted: Tensor, relevant: Tensor, pixels: int) -> Tensor:
    """Return E of binary maps given by their counts.

    A pixel's alignment depends only on which of the four cells of the confusion matrix it falls into. The sum is
    divided by ``pixels - 1`` as in the authors' code, so that a perfect map scores ``pixels / (pixels - 1)``; an image
    of one pixel is divided by 1.

    Args:
        hits: (B, T) foreground pixels that are predicted.
        predicted: (B, T) predicted pixels.
        relevant: (B, 1) foreground pixels.
        pixels: pixels of an image.

    Returns:
        (B, T) float64.

    Source: Fan et al., "Enhanced-alignment measure for binary foreground map evaluation", IJCAI 2018, equations 1-4.
    """
    p, t = predicted / pixels, relevant / pixels
    cells = (
        (hits, 1 - p, 1 - t),
        (predicted - hits, 1 - p, -t),
        (relevant - hits, -p, 1 - t),
        (pixels - predicted - relevant + hits, -p, -t),
    )
    total = torch.zeros_like(hits)
    for count, a, b in cells:
        total = total + count * (2 * a * b / (a.square() + b.square() + _EPS) + 1).square() / 4
    total = torch.where(relevant == 0, pixels - predicted, total)
    total = torch.where(relevant == pixels, predicted, total)
    return total / max(pixels - 1, 1)
