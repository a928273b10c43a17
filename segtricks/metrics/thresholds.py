"""Pixels above every threshold at once, from one histogram an image."""

from collections.abc import Sequence

import torch
from torch import Tensor

LEVELS = 256


def threshold_counts(pred: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Count, per image and threshold k/255, k = 0..254, the pixels above it inside the truth, and all of them.

    Args:
        pred: (B, 1, H, W) probabilities, compared as float32 with float32 thresholds.
        truth: (B, 1, H, W) bool.

    Returns:
        Two (B, 255) float64 tensors of whole numbers.
    """
    thresholds = torch.arange(255, device=pred.device) / 255
    bins = []
    for image in pred.flatten(1).float():
        # However the product is rounded, a pixel exceeds all thresholds below its level and none beyond it.
        level = (image * 255).clamp_(0, 254).int()
        bins.append(level.add_(image > thresholds.index_select(0, level)))
    hits, predicted = _at_least(bins, truth)
    return hits[:, 1:], predicted[:, 1:]


def level_counts(pred: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Count as :func:`threshold_counts`, the saliency toolboxes' way: ``floor(255 pred) >= k`` for k = 0..255.

    Args:
        pred: (B, 1, H, W) in [0, 1]; the product is rounded in its own dtype.
        truth: (B, 1, H, W) bool.

    Returns:
        Two (B, 256) float64 tensors of whole numbers.
    """
    return _at_least([(image * 255).clamp_(0, LEVELS - 1).int() for image in pred.flatten(1)], truth)


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


def _at_least(bins: Sequence[Tensor], truth: Tensor) -> tuple[Tensor, Tensor]:
    """Count pixels with ``bins >= k`` for k = 0..255, inside the truth and in all; ``bins`` (N,) are overwritten."""
    counts = [
        torch.bincount(cells.add_(inside, alpha=LEVELS), minlength=2 * LEVELS)
        for cells, inside in zip(bins, truth.flatten(1), strict=True)
    ]
    histogram = torch.stack(counts).view(-1, 2, LEVELS).double()
    above = histogram.flip(-1).cumsum(-1).flip(-1)
    return above[:, 1], above.sum(dim=1)
