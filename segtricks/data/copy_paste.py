"""Copy-paste: objects of one photograph of a batch, laid over another one together with their masks."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from segtricks.data.sample import Instances, Panoptic
from segtricks.data.transforms import resize_target

_SMALLEST, _LARGEST = 0.3, 1.0


@dataclass(frozen=True)
class Paste:
    """What one photograph gets.

    Args:
        donor: place in the batch of the photograph whose objects it gets.
        objects: (k,) which of them.
        size: height and width of that photograph when it is laid over.
        top: row at which it then begins.
        left: column at which it begins.
    """

    donor: int
    objects: Tensor
    size: tuple[int, int]
    top: int
    left: int


def copy_paste(images: Tensor, targets: Sequence[Panoptic], share: float = 1.0) -> tuple[Tensor, list[Panoptic]]:
    """Return the batch with objects of other photographs pasted into a ``share`` of them.

    Each gets any number of the objects of one other photograph, which is first resized by a factor from 0.3 to 1 and
    then lies anywhere within. Objects below lose what is covered, and go where nothing of them is left; in the map of
    stuff what is pasted is 0. A photograph without an object gives none. Drawn from torch's global generator.

    Args:
        images: (B, 3, H, W), float.
        targets: of each image, without crowds or stated boxes.
        share: probability that a photograph gets any.

    Source: Wang et al., "Cut and Learn for Unsupervised Object Detection and Instance Segmentation", CVPR 2023.
    """
    pasted, found = images.clone(), []
    for place, target in enumerate(targets):
        paste = draw_paste(place, targets, share)
        if paste is not None:
            donor = images[paste.donor], targets[paste.donor].instances
            pasted[place], target = apply_paste(paste, images[place], target, *donor)
        found.append(target)
    return pasted, found


def draw_paste(place: int, targets: Sequence[Panoptic], share: float) -> Paste | None:
    """Draw what the photograph at a place of the batch gets, None for nothing."""
    drawn, other, count, row, column = torch.rand(5).tolist()
    factor = _SMALLEST + (_LARGEST - _SMALLEST) * torch.rand(()).item()
    if len(targets) < 2 or drawn >= share:
        return None
    donor = (place + 1 + int(other * (len(targets) - 1))) % len(targets)
    objects = len(targets[donor].instances.masks)
    if not objects:
        return None
    chosen = torch.randperm(objects)[: 1 + int(count * objects)]
    height, width = targets[donor].semantic.shape[-2:]
    size = max(1, round(height * factor)), max(1, round(width * factor))
    top, left = int(row * (height - size[0] + 1)), int(column * (width - size[1] + 1))
    return Paste(donor, chosen, size, top, left)


def apply_paste(
    paste: Paste, image: Tensor, target: Panoptic, donor: Tensor, objects: Instances
) -> tuple[Tensor, Panoptic]:
    """Return an image (3, H, W) and its target with the objects of a donor of the same size, see :func:`copy_paste`."""
    height, width = image.shape[-2:]
    below, right = height - paste.top - paste.size[0], width - paste.left - paste.size[1]
    around = (paste.left, right, paste.top, below)
    small = interpolate(donor[None], paste.size, mode="bilinear", antialias=True)[0]
    resized: Tensor = resize_target(objects.masks[paste.objects], *paste.size)  # type: ignore[assignment]
    masks = pad(resized, around)
    covered = masks.any(dim=0)
    under = target.instances.masks & ~covered
    labels = torch.cat([target.instances.labels, objects.labels[paste.objects]])
    scores = torch.cat([target.instances.scores, objects.scores[paste.objects]])
    joined = Instances(torch.cat([under, masks]), labels, scores)
    seen = joined.select(joined.masks.flatten(1).any(dim=1))
    return torch.where(covered, pad(small, around), image), Panoptic(seen, target.semantic.masked_fill(covered, 0))
