"""The base of all datasets: photographs, each perhaps with a mask, read one at a time."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Self, TypedDict

from torch import Tensor
from torch.utils.data import Dataset

from segtricks.data.images import UnreadableImage, read_image, read_mask
from segtricks.errors import UserError


class Sample(TypedDict):
    """One photograph: ``image`` uint8 (3, H, W), ``mask`` uint8 (1, H, W) or None, ``path`` of the photograph."""

    image: Tensor
    mask: Tensor | None
    path: str


class SaliencyDataset(Dataset[Sample]):
    """Photographs and, where there are any, their masks: ``dataset[i]`` is a :class:`Sample`.

    A subclass finds its files and hands them here, sorted; one that draws its images overrides ``read_image`` and
    ``read_mask``.

    Args:
        name: What reports call the dataset.
        images: One path for each photograph.
        masks: One path for each photograph in the same order, or None where there are no masks.
    """

    def __init__(self, name: str, images: Sequence[Path], masks: Sequence[Path] | None = None) -> None:
        if masks is not None and len(masks) != len(images):
            raise ValueError(f"{name}: {len(images)} images but {len(masks)} masks")
        self.name = name
        self.images = list(images)
        self.masks = None if masks is None else list(masks)

    def __len__(self) -> int:
        """Number of photographs."""
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        """Image and mask.

        Raises:
            UnreadableImage: Either cannot be read, or their sizes differ.
        """
        image, mask = self.read_image(index), self.read_mask(index)
        if mask is not None and mask.shape[1:] != image.shape[1:]:
            sizes = [f"{tensor.shape[2]} x {tensor.shape[1]}" for tensor in (image, mask)]
            which = "" if self.masks is None else f" ({self.masks[index]})"
            reason = f"the image is {sizes[0]} pixels, its mask{which} {sizes[1]} (width x height)"
            raise UnreadableImage(self.images[index], reason)
        return Sample(image=image, mask=mask, path=str(self.images[index]))

    def read_image(self, index: int) -> Tensor:
        """Photograph alone, uint8 (3, H, W): no mask is opened."""
        return read_image(self.images[index])

    def read_mask(self, index: int) -> Tensor | None:
        """Mask alone, uint8 (1, H, W), or None where the dataset has no masks."""
        return None if self.masks is None else read_mask(self.masks[index])

    def select(self, indices: Sequence[int]) -> Self:
        """The same dataset with only these items, in this order."""
        chosen = copy.copy(self)
        chosen.images = [self.images[index] for index in indices]
        chosen.masks = None if self.masks is None else [self.masks[index] for index in indices]
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
