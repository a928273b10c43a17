"""Maximum F-measure over thresholds, as the unsupervised saliency papers compute it."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from segtricks.metrics.inputs import binary_target, check_masks


class MaxFBeta(Metric):
    """Maximum over thresholds of the mean over images of F_β.

    At threshold k/255, k = 0..254, a pixel is foreground where ``pred > k/255``. The precision of an empty prediction
    and the recall of an empty target are 1, and F is 0 where both are 0. One pass: each image becomes a histogram of
    its probabilities, and only the sum of F over images is kept, per threshold, in float64.

    ``update(pred, target)`` takes (B, 1, H, W): probabilities in [0, 1], and masks as bool, 0/1 or 0..255.

    Args:
        beta2: β², 0.3 in this field.
        target_threshold: target foreground is ``target > target_threshold``, on a scale of 0 to 1.

    Source: Achanta et al., 2009; protocol of arXiv 2404.03392's evaluation.
    """

    full_state_update = False
    higher_is_better = True
    f_sum: Tensor
    images: Tensor
    thresholds: Tensor

    def __init__(self, beta2: float = 0.3, target_threshold: float = 0.5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not beta2 > 0:
            raise ValueError(f"beta2 must be above 0, got {beta2}")
        self.beta2, self.target_threshold = beta2, target_threshold
        self.register_buffer("thresholds", torch.arange(255) / 255, persistent=False)
        self.add_state("f_sum", torch.zeros(255, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("images", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, pred: Tensor, target: Tensor) -> None:
        """Add a batch of images."""
        check_masks(pred, target)
        truth = binary_target(target, self.target_threshold)
        hits, predicted = threshold_counts(pred, truth, self.thresholds)
        relevant = truth.flatten(1).sum(dim=1, keepdim=True)
        precision = torch.where(predicted > 0, hits / predicted.clamp(min=1), 1.0)
        recall = torch.where(relevant > 0, hits / relevant.clamp(min=1), 1.0)
        f = (1 + self.beta2) * precision * recall / (self.beta2 * precision + recall)
        self.f_sum += f.nan_to_num(0.0).sum(dim=0)
        self.images += len(pred)

    def curve(self) -> Tensor:
        """Return the mean F over images at each threshold, (255,) float64."""
        return self.f_sum / self.images

    def compute(self) -> Tensor:
        """Return the maximum of :meth:`curve`, float64."""
        return self.curve().max()


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
    count = len(thresholds) + 1
    offset = torch.arange(len(pred), device=pred.device)[:, None] * 2 * count
    cells = (bins + truth.flatten(1) * count + offset).flatten()
    histogram = torch.bincount(cells, minlength=len(pred) * 2 * count).view(len(pred), 2, count).double()
    above = histogram.flip(-1).cumsum(-1).flip(-1)[..., 1:]
    return above[:, 1], above.sum(dim=1)
