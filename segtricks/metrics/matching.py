"""Which class each cluster stands for, decided with the labels of the images that are scored."""

from typing import Literal, get_args

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

Matching = Literal["hungarian", "majority"]
By = Literal["iou", "count"]


def match_clusters(confusion: Tensor, how: Matching = "hungarian", by: By = "iou") -> Tensor:
    """Return the class of each cluster, (clusters,) int64; -1 for a cluster without a pixel or left over.

    Args:
        confusion: (clusters, classes) counts of pixels, or votes.
        how: ``hungarian`` gives each class to one cluster at most, so that the sum is largest; ``majority`` gives each
            cluster its best class, the first of equals, so that several clusters may share a class.
        by: what is compared: the IoU of a cluster and a class over all pixels (MaskContrast), or the count of those
            they share (STEGO, and votes).

    Raises:
        ValueError: counts of another shape, or an unknown choice.
    """
    if how not in get_args(Matching) or by not in get_args(By):
        raise ValueError(f"how is {how!r} and by {by!r}; allowed: {get_args(Matching)} and {get_args(By)}")
    if confusion.ndim != 2:
        raise ValueError(f"confusion must be (clusters, classes), got {tuple(confusion.shape)}")
    counts = confusion.cpu().double()
    table = overlaps(counts) if by == "iou" else counts
    mapping = torch.full((len(counts),), -1)
    if not counts.shape[1]:
        return mapping.to(confusion.device)
    if how == "hungarian":
        clusters, classes = (torch.from_numpy(places) for places in linear_sum_assignment(table.numpy(), maximize=True))
        mapping[clusters] = classes
    else:
        mapping = table.argmax(dim=1)
    mapping[counts.sum(dim=1) == 0] = -1
    return mapping.to(confusion.device)


def overlaps(confusion: Tensor) -> Tensor:
    """Return the IoU of each cluster and each class, (clusters, classes) float64; 0 where both are empty."""
    counts = confusion.double()
    union = counts.sum(dim=1, keepdim=True) + counts.sum(dim=0, keepdim=True) - counts
    return counts / union.clamp_min(1)
