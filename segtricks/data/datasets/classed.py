"""Published sets whose files say themselves what is what: classes of pixels, segments, or both."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from segtricks.data.datasets.published import PublishedDataset
from segtricks.data.images import UnreadableImage, read_labels
from segtricks.data.reading import Reading
from segtricks.data.sample import Instances, Panoptic
from segtricks.data.transforms import VOID


class ClassedDataset(PublishedDataset):
    """A published set whose masks are label maps, maps of segments or outlines.

    As a mask, they are the union of all objects, crowds left out.

    Args:
        images: photographs.
        masks: the file of each, None where they are not needed.
    """

    def __init__(self, images: Sequence[Path], masks: Sequence[Path] | None) -> None:
        super().__init__(self.title, images, masks)
        # What values mean is known: nothing is decided by looking at the files.
        self.reading = Reading(self.images, (), self._content)

    def read_mask(self, index: int) -> Tensor | None:
        """Union of all objects, uint8 (1, H, W) of 0 and 255."""
        if self.masks is None:
            return None
        instances = self.read_panoptic(index).instances
        kept = instances.masks if instances.crowd is None else instances.masks[~instances.crowd]
        return kept.any(dim=0, keepdim=True).to(torch.uint8) * 255


class Segment(NamedTuple):
    """A segment of a map: its number there, its category, and whether it is an object or a crowd of them."""

    number: int
    category: int
    is_thing: bool
    is_crowd: bool = False


def panoptic_target(numbers: Tensor, segments: Sequence[Segment]) -> Panoptic:
    """Return objects and stuff of a map int64 (1, H, W) of numbers; what belongs to none of the segments is unknown."""
    seen = set(numbers.unique().tolist())
    things = [segment for segment in segments if segment.is_thing and segment.number in seen]
    stuff = [segment for segment in segments if not segment.is_thing and segment.number in seen]
    masks = numbers == torch.tensor([thing.number for thing in things], dtype=torch.int64)[:, None, None]
    labels = torch.tensor([thing.category for thing in things], dtype=torch.int64)
    crowd = torch.tensor([thing.is_crowd for thing in things], dtype=torch.bool)
    semantic = torch.full_like(numbers, VOID)
    for segment in stuff:
        semantic[numbers == segment.number] = segment.category
    semantic[masks.any(dim=0, keepdim=True)] = 0
    instances = Instances(masks, labels, torch.ones(len(things)), crowd)
    return Panoptic(instances, semantic, numbers)


def mapped_labels(path: Path, table: Tensor) -> Tensor:
    """Return a label map int64 (1, H, W) with its ids replaced by the entries of a table.

    Raises:
        UnreadableImage: it cannot be read, or has an id that the table does not have, or has as -1.
    """
    ids = read_labels(path)
    known = torch.cat([table, table.new_tensor([-1])])
    labels = known[ids.clamp(max=len(table))]
    if (labels < 0).any():
        raise UnreadableImage(path, f"holds the id {int(ids[labels < 0][0])}, which this data set does not have")
    return labels
