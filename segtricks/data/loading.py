"""What the loaders' workers do: read, transform, and set broken files aside instead of failing."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.random import SeedSequence
from torch import Tensor
from torch.utils.data import Dataset

from segtricks.data.images import UnreadableImage
from segtricks.data.saliency import SaliencyDataset, Sample
from segtricks.data.transforms import CenterCropTransform, EvalTransform, to_input

Item = dict[str, Any]
Transform = Callable[[Tensor], Tensor]


class Skipped(NamedTuple):
    """A file that could not be used, and why."""

    path: str
    reason: str


class TrainItems(Dataset[Item | Skipped]):
    """Random views of the photographs; masks are never opened.

    Keys are ``(epoch, index)``, and the view is a function of ``(seed, epoch, index)`` alone: neither the number of
    workers nor what was drawn before matters. A bare index means epoch 0.
    """

    def __init__(self, dataset: SaliencyDataset, transform: Transform, seed: int) -> None:
        self.dataset = dataset
        self.transform = transform
        self.seed = seed

    def __len__(self) -> int:
        """Number of photographs."""
        return len(self.dataset)

    def __getitem__(self, key: int | tuple[int, int]) -> Item | Skipped:
        """One item: ``image`` float (3, S, S) and ``path``."""
        epoch, index = key if isinstance(key, tuple) else (0, key)
        try:
            image = self.dataset.read_image(index)
        except UnreadableImage as error:
            return Skipped(error.path, error.reason)
        mixed = SeedSequence([self.seed, epoch, index]).generate_state(1, np.uint64)[0]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(mixed))
            return {"image": self.transform(image), "path": str(self.dataset.images[index])}


class CropItems(Dataset[Item | Skipped]):
    """The middle of each photograph: ``image`` float (3, S, S), ``path``, and ``mask`` float (1, S, S) of 0 and 1."""

    def __init__(self, dataset: SaliencyDataset, crop: CenterCropTransform) -> None:
        self.dataset = dataset
        self.crop = crop

    def __len__(self) -> int:
        """Number of photographs."""
        return len(self.dataset)

    def __getitem__(self, index: int) -> Item | Skipped:
        """One item."""
        sample = _sample(self.dataset, index)
        if isinstance(sample, Skipped):
            return sample
        item: Item = {"image": to_input(self.crop(sample["image"])), "path": sample["path"]}
        if sample["mask"] is not None:
            item["mask"] = (self.crop(sample["mask"]) >= 128).float()
        return item


class WholeItems(Dataset[Item | Skipped]):
    """Whole photographs: ``image`` float (3, h, w) for the network, ``photo`` and ``mask`` uint8 (·, H, W), ``path``.

    With ``crop``, photograph and mask are first cut to its square, and all three have its size.
    """

    def __init__(
        self, dataset: SaliencyDataset, transform: EvalTransform, crop: CenterCropTransform | None = None
    ) -> None:
        self.dataset = dataset
        self.transform = transform
        self.crop = crop

    def __len__(self) -> int:
        """Number of photographs."""
        return len(self.dataset)

    def __getitem__(self, index: int) -> Item | Skipped:
        """One item."""
        sample = _sample(self.dataset, index)
        if isinstance(sample, Skipped):
            return sample
        photo, mask = sample["image"], sample["mask"]
        if self.crop is not None:
            photo, mask = self.crop(photo), None if mask is None else self.crop(mask)
        image = self.transform(photo) if self.crop is None else to_input(photo)
        item: Item = {"image": image, "photo": photo, "path": sample["path"]}
        return item if mask is None else item | {"mask": mask}


def collate_lists(items: Sequence[Item | Skipped], names: Sequence[str]) -> dict[str, Any]:
    """A batch of lists, one for each of ``names``; ``skipped`` has ``(path, reason)`` of the items they lack."""
    good = [item for item in items if not isinstance(item, Skipped)]
    batch: dict[str, Any] = {name: [item[name] for item in good] for name in names}
    # Plain tuples: what moves batches to a device rebuilds them without knowing their class.
    batch["skipped"] = [tuple(item) for item in items if isinstance(item, Skipped)]
    return batch


def collate_stacked(items: Sequence[Item | Skipped], names: Sequence[str], size: int) -> dict[str, Any]:
    """The same with tensors (B, ·, size, size) for images and masks; B is 0 where every file is broken."""
    batch = collate_lists(items, names)
    for name, channels in (("image", 3), ("mask", 1)):
        if name in batch:
            batch[name] = torch.stack(batch[name]) if batch[name] else torch.empty(0, channels, size, size)
    return batch


def _sample(dataset: SaliencyDataset, index: int) -> Sample | Skipped:
    try:
        return dataset[index]
    except UnreadableImage as error:
        return Skipped(error.path, error.reason)
