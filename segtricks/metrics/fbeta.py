"""Maximum F-measure over thresholds, as the unsupervised saliency papers compute it."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from segtricks.metrics.base import keep_apart
from segtricks.metrics.functional.masks import binary_target, check_masks
from segtricks.metrics.thresholds import f_beta, precision_recall, threshold_counts


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

    def __init__(self, beta2: float = 0.3, target_threshold: float = 0.5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not beta2 > 0:
            raise ValueError(f"beta2 must be above 0, got {beta2}")
        self.beta2, self.target_threshold = beta2, target_threshold
        keep_apart(self, beta2, target_threshold)
        self.add_state("f_sum", torch.zeros(255, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("images", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, pred: Tensor, target: Tensor) -> None:
        """Add a batch of images."""
        check_masks(pred, target)
        truth = binary_target(target, self.target_threshold)
        hits, predicted = threshold_counts(pred, truth)
        relevant = truth.flatten(1).sum(dim=1, keepdim=True)
        self.f_sum += f_beta(*precision_recall(hits, predicted, relevant), self.beta2).sum(dim=0)
        self.images += len(pred)

    def curve(self) -> Tensor:
        """Return the mean F over images at each threshold, (255,) float64."""
        return self.f_sum / self.images

    def compute(self) -> Tensor:
        """Return the maximum of :meth:`curve`, float64."""
        return self.curve().max()
