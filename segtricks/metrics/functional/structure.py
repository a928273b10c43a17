"""The structure measure: how alike a soft map and a mask are, as an object and in the four parts around its centre."""

import torch
from torch import Tensor

_EPS = torch.finfo(torch.float64).eps
_CONSTANT = 1e-20  # sum of squared deviations of a part that does not vary


def structure_measure(pred: Tensor, truth: Tensor, alpha: float = 0.5) -> Tensor:
    """Return S = α·S_object + (1 - α)·S_region of each image, at least 0.

    Where the truth is empty it is 1 minus the mean of the map, where it is full the mean of the map. A part without
    pixels, beyond a centre on the last row or column, counts nothing.

    Args:
        pred: (B, 1, H, W) in [0, 1].
        truth: (B, 1, H, W) bool.
        alpha: weight of the object term, in [0, 1].

    Returns:
        (B,) float64.

    Source: Fan et al., "Structure-measure: A new way to evaluate foreground maps", ICCV 2017.
    """
    scores = [_structure(p[0].double(), t[0], alpha) for p, t in zip(pred, truth, strict=True)]
    return torch.stack(scores)


def _structure(pred: Tensor, truth: Tensor, alpha: float) -> Tensor:
    mask = truth.double()
    share = mask.mean()
    if share == 0:
        return 1 - pred.mean()
    if share == 1:
        return pred.mean()
    inside, outside = _mean_and_spread(pred, mask), _mean_and_spread(pred, 1 - mask)
    objects = share * _alike(*inside) + (1 - share) * _alike(1 - outside[0], outside[1])
    return (alpha * objects + (1 - alpha) * _regions(pred, mask)).clamp(min=0)


def _mean_and_spread(values: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (n - 1) over the pixels where ``inside`` is 1."""
    weight, flat = inside.reshape(-1), values.reshape(-1)
    count = weight.sum()
    mean = flat.dot(weight) / count
    return mean, (flat - mean).square_().dot(weight).div((count - 1).clamp(min=1)).sqrt()


def _alike(mean: Tensor, spread: Tensor) -> Tensor:
    """Object term: high mean, small spread."""
    return 2 * mean / (mean.square() + 1 + spread + _EPS)


def _regions(pred: Tensor, mask: Tensor) -> Tensor:
    height, width = mask.shape
    total = mask.sum()
    row = torch.arange(height, dtype=mask.dtype, device=mask.device).dot(mask.sum(dim=1)) / total
    column = torch.arange(width, dtype=mask.dtype, device=mask.device).dot(mask.sum(dim=0)) / total
    # The centre's own row and column belong to the upper left part.
    y, x = int(row.round()) + 1, int(column.round()) + 1
    score = pred.new_zeros(())
    for rows in (slice(0, y), slice(y, height)):
        for columns in (slice(0, x), slice(x, width)):
            p, m = pred[rows, columns], mask[rows, columns]
            if p.numel():
                score = score + _similarity(p, m) * (p.numel() / (height * width))
    return score


def _similarity(pred: Tensor, mask: Tensor) -> Tensor:
    """Structural similarity of one part (h, w); 1 where nothing varies in either, 0 where they share no variation."""
    n = pred.numel() - 1 + _EPS
    x, y = pred.mean(), mask.mean()
    dx, dy = (pred - x).flatten(), (mask - y).flatten()
    # Rounding of the mean must not give a constant part a variance.
    varies = dx.dot(dx) > _CONSTANT
    dx *= varies
    above = 4 * x * y * dx.dot(dy) / n
    below = (x.square() + y.square()) * (dx.dot(dx) + dy.dot(dy)) / n
    return torch.where(above != 0, above / (below + _EPS), (below == 0).double())
