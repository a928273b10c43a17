"""The mean of one score per image, summed so that any split over batches and processes gives the same."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric


class ImageMean(Metric):
    """Sum of one score per image, in float64, and the number of images it stands for."""

    full_state_update = False
    higher_is_better = True
    total: Tensor
    images: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("images", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def add(self, scores: Tensor) -> None:
        """Add the scores (B,) of a batch."""
        self.total += scores.double().sum()
        self.images += len(scores)

    def compute(self) -> Tensor:
        """Return the mean over images, float64; nan before the first."""
        return self.total / self.images
