"""Pixels above every threshold at once, from one histogram an image."""

import torch
from torch import Tensor

LEVELS = 256


def threshold_counts(pred: Tensor, truth: Tensor, thresholds: Tensor) -> tuple[Tensor, Tensor]:
    """Count, per image and threshold, the pixels above it inside the truth, and all the pixels above it.

    Args:
        pred: (B, 1, H, W) probabilities.
        truth: (B, 1, H, W) bool.
        thresholds: (T,) ascending; a pixel counts at t where ``pred > t``.

    Returns:
        Two (B, T) float64 tensors of whole numbers.
    """
    # A pixel in bin i exceeds exactly the first i thresholds.
    bins = torch.bucketize(pred.float().flatten(1).contiguous(), thresholds)
    hits, predicted = _at_least(bins, truth.flatten(1), len(thresholds) + 1)
    return hits[:, 1:], predicted[:, 1:]


def level_counts(pred: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Count as :func:`threshold_counts`, the saliency toolboxes' way: ``floor(255 pred) >= k`` for k = 0..255.

    Args:
        pred: (B, 1, H, W) in [0, 1]; the product is rounded in its own dtype.
        truth: (B, 1, H, W) bool.

    Returns:
        Two (B, 256) float64 tensors of whole numbers.
    """
    levels = (pred.flatten(1) * 255).long().clamp(0, LEVELS - 1)
    return _at_least(levels, truth.flatten(1), LEVELS)


def adaptive_counts(pred: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Count as :func:`threshold_counts` at each image's own threshold, ``pred >= min(2 mean(pred), 1)``; (B, 1)."""
    flat = pred.double().flatten(1)
    chosen = flat >= (2 * flat.mean(dim=1, keepdim=True)).clamp(max=1)
    hits = (chosen & truth.flatten(1)).sum(dim=1, keepdim=True)
    return hits.double(), chosen.sum(dim=1, keepdim=True).double()


def precision_recall(hits: Tensor, predicted: Tensor, relevant: Tensor, empty: float = 1.0) -> tuple[Tensor, Tensor]:
    """Divide the counts; ``empty`` is the precision of an empty prediction and the recall of an empty target."""
    precision = torch.where(predicted > 0, hits / predicted.clamp(min=1), empty)
    recall = torch.where(relevant > 0, hits / relevant.clamp(min=1), empty)
    return precision, recall


def f_beta(precision: Tensor, recall: Tensor, beta2: float) -> Tensor:
    """Return F_β, 0 where precision and recall are both 0."""
    f: Tensor = (1 + beta2) * precision * recall / (beta2 * precision + recall)
    return f.nan_to_num(0.0)


def _at_least(bins: Tensor, truth: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Count pixels with ``bins >= k`` for k = 0..count-1, inside the truth and in all; bins and truth are (B, N)."""
    offset = torch.arange(len(bins), device=bins.device)[:, None] * 2 * count
    cells = (bins + truth * count + offset).flatten()
    histogram = torch.bincount(cells, minlength=len(bins) * 2 * count).view(len(bins), 2, count).double()
    above = histogram.flip(-1).cumsum(-1).flip(-1)
    return above[:, 1], above.sum(dim=1)
