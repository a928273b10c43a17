"""The base of all datasets: photographs, each perhaps with a mask or boxes, read one at a time."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Self, TypedDict

from torch import Tensor
from torch.utils.data import Dataset

from segtricks.data.boxes import ImageBoxes
from segtricks.data.images import UnreadableImage, read_image, read_mask
from segtricks.errors import UserError


class Sample(TypedDict):
    """One photograph: ``image`` uint8 (3, H, W), ``mask`` uint8 (1, H, W) or None, ``boxes`` (n, 4) or None, ``path``.

    Boxes are half-open x0, y0, x1, y1 in pixels of the image, float64.
    """

    image: Tensor
    mask: Tensor | None
    boxes: Tensor | None
    path: str


class SaliencyDataset(Dataset[Sample]):
    """Photographs and, where there are any, their masks and boxes: ``dataset[i]`` is a :class:`Sample`.

    A subclass finds its files and hands them here, sorted; one that draws its images overrides ``read_image`` and
    ``read_mask``.

    Args:
        name: What reports call the dataset.
        images: One path for each photograph.
        masks: One path for each photograph in the same order, or None where there are no masks.
        annotations: Boxes of each photograph in the same order, or None where there are none.
    """

    def __init__(
        self,
        name: str,
        images: Sequence[Path],
        masks: Sequence[Path] | None = None,
        annotations: Sequence[ImageBoxes] | None = None,
    ) -> None:
        for what, others in (("masks", masks), ("annotations", annotations)):
            if others is not None and len(others) != len(images):
                raise ValueError(f"{name}: {len(images)} images but {len(others)} {what}")
        self.name = name
        self.images = list(images)
        self.masks = None if masks is None else list(masks)
        self.annotations = None if annotations is None else list(annotations)

    def __len__(self) -> int:
        """Number of photographs."""
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        """Image, mask and boxes.

        Raises:
            UnreadableImage: A file cannot be read, or sizes differ.
        """
        image, mask = self.read_image(index), self.read_mask(index)
        if mask is not None:
            which = "" if self.masks is None else f" ({self.masks[index]})"
            self._check_size(index, image, mask.shape[1:], f"its mask{which}")
        if self.annotations is not None:
            self._check_size(index, image, self.annotations[index].size, "its annotation")
        return Sample(image=image, mask=mask, boxes=self.boxes(index), path=str(self.images[index]))

    def read_image(self, index: int) -> Tensor:
        """Photograph alone, uint8 (3, H, W): no mask is opened."""
        return read_image(self.images[index])

    def read_mask(self, index: int) -> Tensor | None:
        """Mask alone, uint8 (1, H, W), or None where the dataset has no masks."""
        return None if self.masks is None else read_mask(self.masks[index])

    def boxes(self, index: int) -> Tensor | None:
        """Boxes (n, 4) of a photograph, half-open x0, y0, x1, y1 in pixels, or None where the dataset has none."""
        return None if self.annotations is None else self.annotations[index].boxes

    def select(self, indices: Sequence[int]) -> Self:
        """The same dataset with only these items, in this order."""
        chosen = copy.copy(self)
        chosen.images = [self.images[index] for index in indices]
        chosen.masks = None if self.masks is None else [self.masks[index] for index in indices]
        chosen.annotations = None if self.annotations is None else [self.annotations[index] for index in indices]
        return chosen

    def part(self, start: int | None, stop: int | None) -> Self:
        """Items ``start`` to ``stop`` of the sorted files, counted as in a Python slice.

        Raises:
            UserError: Nothing is left.
        """
        chosen = self.select(range(len(self))[start:stop])
        if not len(chosen):
            text = f"[{'' if start is None else start}:{'' if stop is None else stop}]"
            raise UserError(f"{self.name}{text} is empty: {self.name} has {len(self):,} images, 0 to {len(self) - 1}.")
        return chosen

    def _check_size(self, index: int, image: Tensor, size: Sequence[int], whose: str) -> None:
        if tuple(image.shape[1:]) != tuple(size):
            (height, width), (other_height, other_width) = image.shape[1:], size
            reason = f"the image is {width} x {height} pixels, {whose} {other_width} x {other_height} (width x height)"
            raise UnreadableImage(self.images[index], reason)
