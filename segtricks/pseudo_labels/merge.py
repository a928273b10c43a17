"""Instances and a semantic map, merged into one panoptic map."""

from typing import NamedTuple

import torch
from torch import Tensor

from segtricks.data.sample import Instances
from segtricks.data.transforms import VOID


class PanopticMap(NamedTuple):
    """``segments`` (H, W) int64, 0 where there is none; segment i is of the class ``categories[i - 1]``, int64.

    Things are of the classes 1 to K, stuff of those from K + 1 on.
    """

    segments: Tensor
    categories: Tensor


class PanopticPrediction(NamedTuple):
    """What is found in one image.

    Args:
        instances: all detections, with labels from 1; they may overlap.
        panoptic: their best and the stuff, without overlap.
        num_things: K, the highest class of things in it.
    """

    instances: Instances
    panoptic: PanopticMap
    num_things: int


def merge_panoptic(
    masks: Tensor,
    labels: Tensor,
    semantic: Tensor,
    *,
    num_things: int,
    max_covered: float = 0.7,
    boxes: Tensor | None = None,
) -> PanopticMap:
    """Merge the instances and the semantic map of a photograph.

    Instances lie over each other, the one of the smaller box on top. Below them, each class of the semantic map is one
    segment where it is not covered, unless instances cover more than ``max_covered`` of it. Segments are numbered as
    they are placed, and those that nothing is seen of are left out.

    Args:
        masks: (n, H, W) bool.
        labels: (n,) classes of the instances, 1 to K.
        semantic: (H, W) classes of stuff from 0; below 0 there is none. Class c becomes K + 1 + c.
        num_things: K.
        max_covered: share of a class's pixels.
        boxes: (n, 4) x0, y0, x1, y1, whose areas decide; left out, the boxes around the masks.

    Source: Niu et al., "Unsupervised Universal Image Segmentation", CVPR 2024, and its published code.
    """
    masks, labels, semantic = (torch.as_tensor(value) for value in (masks, labels, semantic))
    areas = _box_areas(masks.bool()) if boxes is None else _areas(torch.as_tensor(boxes))
    placed = torch.zeros(semantic.shape, dtype=torch.int64, device=semantic.device)
    categories = []
    for index in areas.argsort(descending=True, stable=True).tolist():
        categories.append(int(labels[index]))
        placed[masks[index].bool()] = len(categories)
    instances = placed > 0
    for stuff in semantic.unique().tolist():
        pixels = semantic == stuff
        covered = int((pixels & instances).sum())
        count = int(pixels.sum())
        if stuff < 0 or covered == count or covered / count > max_covered:
            continue
        categories.append(num_things + 1 + stuff)
        placed[pixels & ~instances] = len(categories)
    return _without_gaps(placed, torch.tensor(categories, dtype=torch.int64, device=placed.device))


def semantic_target(panoptic: PanopticMap, *, num_things: int) -> Tensor:
    """Return what a semantic head learns: (H, W) int64, 0 for any thing, 1 + c for stuff c, 255 where there is nothing.

    Args:
        panoptic: of :func:`merge_panoptic`.
        num_things: K.
    """
    segments, categories = (torch.as_tensor(value) for value in panoptic)
    table = torch.cat([categories.new_tensor([VOID]), (categories - num_things).clamp_min(0)])
    return table[segments]


def _box_areas(masks: Tensor) -> Tensor:
    heights = _extent(masks.any(dim=2))
    return heights * _extent(masks.any(dim=1))


def _extent(lines: Tensor) -> Tensor:
    """From the first to the last of each row of ``lines`` (n, L) bool: (n,), 0 where there is none."""
    reached = lines.cumsum(1) > 0
    left = lines.flip(1).cumsum(1).flip(1) > 0
    return (reached & left).sum(dim=1)


def _areas(boxes: Tensor) -> Tensor:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def _without_gaps(placed: Tensor, categories: Tensor) -> PanopticMap:
    """Number the segments that are seen from 1, in the order of their numbers."""
    seen = torch.bincount(placed.flatten(), minlength=len(categories) + 1)[1:] > 0
    numbers = torch.cat([seen.new_zeros(1, dtype=torch.int64), seen.cumsum(0)])
    return PanopticMap(numbers[placed], categories[seen])
