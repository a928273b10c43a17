"""Photographs whose objects are outlines in a COCO JSON file."""

import torch
from torch import Tensor

from segtricks.data.coco import CocoMasks
from segtricks.data.problems import Problems
from segtricks.data.sample import Instances, Panoptic, SegmentationDataset
from segtricks.data.transforms import VOID


class DrawnObjects(SegmentationDataset):
    """A dataset that reads objects from the outlines of ``drawn``, if it has such a file."""

    drawn: CocoMasks | None = None

    def read_mask(self, index: int) -> Tensor | None:
        """Mask alone, uint8 (1, H, W)."""
        if self.masks is None or self.drawn is None:
            return super().read_mask(index)
        return self._upright(index, self.drawn.read(self.images[index]))

    @property
    def problems(self) -> list[Problems]:
        """What is wrong with the files of annotations."""
        return super().problems + ([] if self.drawn is None else [self.drawn.problems])

    def read_instances(self, index: int) -> Instances | None:
        """Objects of a COCO file alone, crowds included; all scores are 1."""
        if self.drawn is None:
            return super().read_instances(index)
        masks, labels, crowd, boxes = self.drawn.read_objects(self.images[index])
        upright = self.reading.orientation == "exif"
        ones = torch.ones(len(masks))
        return Instances(self._upright(index, masks), labels, ones, crowd, boxes if upright else None)

    def read_panoptic(self, index: int) -> Panoptic:
        """Objects of a COCO file, crowds included; it has no stuff."""
        instances = self.read_instances(index)
        if instances is None:
            return super().read_panoptic(index)
        return Panoptic(instances, torch.full((1, *instances.masks.shape[1:]), VOID))
