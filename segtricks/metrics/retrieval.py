"""Labels of image regions by their nearest neighbour among labelled ones."""

from collections.abc import Sequence

import torch
from torch import Tensor


def majority_label(region: Tensor, target: Tensor, ignore: Sequence[int] = (0, 255)) -> int | None:
    """Return the most frequent label in a region, the highest of equals; None where only ignored ones are in it.

    Args:
        region: (H, W) bool, or 0 and 1.
        target: (H, W) labels, integers. Those below 0 do not count.
        ignore: labels that do not count.
    """
    labels = target[region.bool()].long()
    return most_frequent(torch.bincount(labels[labels >= 0]), ignore)


def most_frequent(counts: Tensor, ignore: Sequence[int] = ()) -> int | None:
    """Return the label of the largest count, the highest of equals; None where all but ignored ones are 0.

    Args:
        counts: (classes,) pixels of each label.
        ignore: labels that do not count.
    """
    counts = counts.clone()
    counts[[label for label in ignore if 0 <= label < len(counts)]] = 0
    if not counts.any():
        return None
    return len(counts) - 1 - int(counts.flip(0).argmax())


def retrieve_labels(queries: Tensor, bank: Tensor, labels: Tensor) -> Tensor:
    """Return the label of each query's nearest vector of the bank by dot product, (N,) int64.

    Args:
        queries: (N, D).
        bank: (M, D), M at least 1.
        labels: (M,) of the bank.
    """
    return labels.long()[(queries.double() @ bank.double().mT).argmax(dim=1)]
