"""Detections and a semantic map of one image, combined to a panoptic map."""

from typing import NamedTuple

import torch
from torch import Tensor


class CombinedMap(NamedTuple):
    """``segments`` (H, W) int64, 0 where there is none; segment i has the category and ``is_thing`` of place i - 1.

    ``categories`` (n,) int64 are as they were given: labels of things from 0, classes of stuff from 1.
    """

    segments: Tensor
    categories: Tensor
    is_thing: Tensor


def combine_panoptic(
    masks: Tensor,
    scores: Tensor,
    labels: Tensor,
    semantic: Tensor,
    *,
    min_score: float = 0.5,
    max_overlap: float = 0.5,
    min_stuff_area: int = 4096,
) -> CombinedMap:
    """Combine the detections and the semantic map of one image.

    Detections are placed by their scores, each on the pixels that are still free, unless more than ``max_overlap`` of
    it is taken. Then each class of the semantic map is one segment where it is free.

    Args:
        masks: (n, H, W) bool.
        scores: (n,).
        labels: (n,) from 0.
        semantic: (H, W) with 0 for things, and stuff from 1.
        min_score: detections below it are left out.
        max_overlap: share of a mask.
        min_stuff_area: in pixels; smaller segments of stuff are left out.

    Source: Kirillov et al., "Panoptic Feature Pyramid Networks", CVPR 2019, as detectron2 does it.
    """
    masks, scores, labels, semantic = (torch.as_tensor(value) for value in (masks, scores, labels, semantic))
    segments = torch.zeros(semantic.shape, dtype=torch.int64, device=semantic.device)
    things, stuff = [], []
    for index in scores.argsort(descending=True, stable=True).tolist():
        if scores[index] < min_score:
            break
        mask = masks[index].bool()
        area, taken = int(mask.sum()), int((mask & (segments > 0)).sum())
        if area and taken <= max_overlap * area:
            things.append(int(labels[index]))
            segments[mask & (segments == 0)] = len(things)
    for kind in semantic.unique().tolist():
        pixels = (semantic == kind) & (segments == 0)
        if kind != 0 and int(pixels.sum()) >= min_stuff_area:
            stuff.append(kind)
            segments[pixels] = len(things) + len(stuff)
    categories = torch.tensor([*things, *stuff], dtype=torch.int64, device=semantic.device)
    return CombinedMap(segments, categories, torch.arange(len(categories), device=semantic.device) < len(things))
