"""What all metrics share: the mean of one score per image, a state of their own."""

import re
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


def keep_apart(metric: Metric, *options: object) -> None:
    """Give a metric a state whose name holds its class and options, and whose value is always 0.

    ``torchmetrics.MetricCollection`` takes metrics for one and the same if their states have equal names, and equal
    values after the first batch, as sums of scores have that start with a perfect image; the others then copy the
    first one's.
    """
    name = re.sub(r"\W", "_", "_".join(map(str, (type(metric).__name__, *options))))
    metric.add_state(name, torch.zeros(()), dist_reduce_fx="sum")
