"""What the loaders' workers do: read, cut, and set broken files aside instead of failing.

They hand out uint8: a quarter of the bytes, and colours and normalisation, which :func:`finished` adds, are cheap only
on the model's device.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.random import SeedSequence
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from segtricks.data.images import UnreadableImage
from segtricks.data.sample import SaliencyDataset, Sample
from segtricks.data.store import ImageCache
from segtricks.data.transforms import (
    CenterCropTransform,
    TrainTransform,
    resize_short_side,
    to_colored_input,
    to_input,
)

Item = dict[str, Any]
Transform = Callable[[Tensor], Tensor]
Collate = Callable[[Sequence[Any]], dict[str, Any]]


class Skipped(NamedTuple):
    """A file that could not be used, and why."""

    path: str
    reason: str


class OnHost:
    """Photographs (3, H, W) of a batch, which are left on the host: they are large, and for pictures.

    The trainer moves the tensors of lists to its device, and looks into nothing else.
    """

    def __init__(self, photos: list[Tensor]) -> None:
        self._photos = photos

    def __len__(self) -> int:
        """Number of photographs."""
        return len(self._photos)

    def __getitem__(self, index: int) -> Tensor:
        """One of them."""
        return self._photos[index]

    def __iter__(self) -> Iterator[Tensor]:
        """Each of them."""
        return iter(self._photos)


class TrainItems(Dataset[Item | Skipped]):
    """Random views of the photographs; masks are never opened.

    Keys are ``(epoch, index)``, and the view is a function of ``(seed, epoch, index)`` alone: neither the number of
    workers nor what was drawn before matters. A bare index means epoch 0.
    """

    def __init__(
        self, dataset: SaliencyDataset, transform: TrainTransform, seed: int, cache: ImageCache | None = None
    ) -> None:
        self.dataset = dataset
        self.transform = transform
        self.seed = seed
        self.cache = cache

    def __len__(self) -> int:
        """Number of photographs."""
        return len(self.dataset)

    def __getitem__(self, key: int | tuple[int, int]) -> Item | Skipped:
        """One item: ``image`` uint8 (3, S, S), ``colors`` float32 (5, 2) still to be applied to it, and ``path``."""
        epoch, index = key if isinstance(key, tuple) else (0, key)
        try:
            image = _read_resized(self.dataset, index, self.transform.resize, self.cache)
        except UnreadableImage as error:
            return Skipped(error.path, error.reason)
        mixed = SeedSequence([self.seed, epoch, index]).generate_state(1, np.uint64)[0]
        generator = torch.Generator().manual_seed(int(mixed))
        crop = self.transform.cut(image, generator)
        colors = self.transform.draw_colors(generator)
        return {"image": crop, "colors": colors, "path": str(self.dataset.images[index])}


class CropItems(Dataset[Item | Skipped]):
    """The middle of each photograph: ``image`` uint8 (3, S, S), ``path``, and ``mask`` float (1, S, S) of 0 and 1.

    Masks are for pictures alone: one that cannot be read, or of other proportions than its image, is nan.
    """

    def __init__(self, dataset: SaliencyDataset, crop: CenterCropTransform, cache: ImageCache | None = None) -> None:
        self.dataset = dataset
        self.crop = crop
        self.cache = cache

    def __len__(self) -> int:
        """Number of photographs."""
        return len(self.dataset)

    def __getitem__(self, index: int) -> Item | Skipped:
        """One item."""
        try:
            image = _read_resized(self.dataset, index, self.crop.resize, self.cache)
        except UnreadableImage as error:
            return Skipped(error.path, error.reason)
        item: Item = {"image": self.crop.cut(image), "path": str(self.dataset.images[index])}
        if self.dataset.masks is not None:
            item["mask"] = self._mask(index, image.shape[1:])
        return item

    def _mask(self, index: int, size: tuple[int, ...]) -> Tensor:
        none = torch.full((1, self.crop.size, self.crop.size), torch.nan)
        try:
            mask = self.dataset.read_mask(index)
        except UnreadableImage:
            return none
        mask = None if mask is None else resize_short_side(mask, self.crop.resize)
        return none if mask is None or mask.shape[1:] != size else (self.crop.cut(mask) >= 128).float()


class WholeItems(Dataset[Item | Skipped]):
    """Whole photographs: ``image`` (3, h, w), ``photo`` and ``mask`` uint8 (·, H, W), ``path``.

    ``image`` is what ``transform`` makes of the photograph for the network. With ``crop`` instead, photograph and mask
    are first cut to its square, and all three have its size, uint8. ``boxes`` is an array
    (n, 4), float64, in pixels of the whole photograph: an array, because not every device knows float64.
    """

    def __init__(self, dataset: SaliencyDataset, transform: Transform, crop: CenterCropTransform | None = None) -> None:
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
        image = self.transform(photo) if self.crop is None else photo
        item: Item = {"image": image, "photo": photo, "path": sample["path"]}
        if mask is not None:
            item["mask"] = mask
        if sample["boxes"] is not None:
            item["boxes"] = sample["boxes"].numpy()
        return item


def collate_lists(items: Sequence[Item | Skipped], names: Sequence[str]) -> dict[str, Any]:
    """A batch of lists, one for each of ``names``; ``skipped`` has ``(path, reason)`` of the items they lack.

    ``photo`` is :class:`OnHost`.
    """
    good = [item for item in items if not isinstance(item, Skipped)]
    batch: dict[str, Any] = {name: [item[name] for item in good] for name in names}
    if "photo" in batch:
        batch["photo"] = OnHost(batch["photo"])
    # Plain tuples: what moves batches to a device rebuilds them without knowing their class.
    batch["skipped"] = [tuple(item) for item in items if isinstance(item, Skipped)]
    return batch


def collate_stacked(items: Sequence[Item | Skipped], names: Sequence[str], size: int) -> dict[str, Any]:
    """The same with uint8 images (B, 3, size, size), masks (B, 1, size, size) and an array of colours (B, 5, 2).

    B is 0 where every file is broken.
    """
    batch = collate_lists(items, names)
    empty = {"image": torch.empty(0, 3, size, size, dtype=torch.uint8), "mask": torch.empty(0, 1, size, size)}
    for name, none in empty.items():
        if name in batch:
            # In a worker, it stacks them straight into the memory that is shared with the main process.
            batch[name] = default_collate(batch[name]) if batch[name] else none
    if "colors" in batch:
        batch["colors"] = np.array(batch["colors"], np.float32).reshape(-1, 5, 2)
    return batch


def finished(batch: dict[str, Any]) -> dict[str, Any]:
    """The batch as models see it: uint8 images become normalised float32, their colours adjusted where there are any.

    Runs on the device that the images lie on; a batch that is finished stays as it is.
    """
    images, colors = batch["image"], batch.get("colors")
    rest = {name: value for name, value in batch.items() if name != "colors"}
    if isinstance(images, list):
        return rest | {"image": [_normalized(image) for image in images]}
    return rest | {"image": _normalized(images) if colors is None else to_colored_input(images, colors)}


def collate_finished(items: Sequence[Item | Skipped], names: Sequence[str], size: int) -> dict[str, Any]:
    """:func:`collate_stacked`, then :func:`finished`, in the worker."""
    return finished(collate_stacked(items, names, size))


def make_loader(
    items: Dataset[Any],
    batch_size: int,
    collate: Collate,
    workers: int,
    sampler: Sampler[Any] | None,
    kind: type[DataLoader[Any]] = DataLoader,
    drop_last: bool = False,
    persistent: bool = False,
) -> DataLoader[Any]:
    """A loader; ``persistent`` workers, if there are any, live as long as it does."""
    return kind(
        items,
        batch_size=batch_size,
        sampler=sampler,
        collate_fn=collate,
        num_workers=workers,
        drop_last=drop_last,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=persistent and workers > 0,
    )


def processors() -> int:
    """Reading processes where none are asked for: 4, or the number of processors where that is less."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(4, usable or 1)


def _normalized(image: Tensor) -> Tensor:
    return image if image.is_floating_point() else to_input(image)


def _read_resized(dataset: SaliencyDataset, index: int, size: int, cache: ImageCache | None) -> Tensor:
    def make() -> Tensor:
        return resize_short_side(dataset.read_image(index), size)

    return make() if cache is None else cache.get(dataset.images[index], make)


def _sample(dataset: SaliencyDataset, index: int) -> Sample | Skipped:
    try:
        return dataset[index]
    except UnreadableImage as error:
        return Skipped(error.path, error.reason)
