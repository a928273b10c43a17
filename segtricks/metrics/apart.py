"""Metrics that stay themselves in a ``MetricCollection``."""

import re

import torch
from torchmetrics import Metric


def keep_apart(metric: Metric, *options: object) -> None:
    """Give a metric a state whose name tells its class and options, and whose value is always 0.

    ``torchmetrics.MetricCollection`` takes metrics for one and the same if their states have equal names, and equal
    values after the first batch, as sums of scores have that start with a perfect image; the others then copy the
    first one's.
    """
    name = re.sub(r"\W", "_", "_".join(map(str, (type(metric).__name__, *options))))
    metric.add_state(name, torch.zeros(()), dist_reduce_fx="sum")
