"""What the loaders' workers do: read, cut, and set broken files aside instead of failing.

They hand out uint8: a quarter of the bytes, and colours and normalisation, which :func:`finished` adds, are cheap only
on the model's device.
"""

import multiprocessing
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Sequence
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.random import SeedSequence
from torch import Tensor
from torch.multiprocessing.reductions import reduce_tensor
from torch.utils.data import DataLoader, Dataset

from segtricks.data.images import UnreadableImage
from segtricks.data.sample import Instances, Panoptic, SegmentationDataset, Target, TargetKind, height_and_width
from segtricks.data.store import ImageCache
from segtricks.data.transforms import (
    CenterCropTransform,
    TrainTransform,
    resize_short_side,
    to_colored_input,
    to_input,
    with_short_side,
)

Item = dict[str, Any]
Transform = Callable[[Tensor], Tensor]
Collate = Callable[[Sequence[Any]], dict[str, Any]]

_SHARED = Path("/dev/shm")
_LEFT_FREE = 4 << 20  # bytes of shared memory for the locks of further workers


_TRUTHS = {"labels": "labels", "panoptic": "target"}
"""What targets of other kinds than masks are called in a test batch."""


class Skipped(NamedTuple):
    """A file that could not be used, and why."""

    path: str
    reason: str


class Emptied(NamedTuple):
    """A photograph whose mask has no foreground, ``whole``, or none in the part that was cut out."""

    path: str
    whole: bool = False


class NoForeground(Exception):
    """The whole mask of a photograph has no foreground."""


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


class _Items(Dataset[Item | Skipped | Emptied]):
    """Photographs, of which those that cannot be read are ``Skipped``."""

    def __init__(self, dataset: SegmentationDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        """Number of photographs."""
        return len(self.dataset)

    def __getitem__(self, key: Any) -> Item | Skipped | Emptied:
        """One item, see the class."""
        try:
            return self._item(key)
        except UnreadableImage as error:
            return Skipped(error.path, error.reason)
        except NoForeground as error:
            return Emptied(str(error), whole=True)

    def _item(self, key: Any) -> Item | Emptied:
        raise NotImplementedError


class _ResizedItems(_Items):
    """Items from photographs whose short side is ``resize``, and from their targets where ``targets`` is set."""

    def __init__(
        self, dataset: SegmentationDataset, resize: int, cache: ImageCache | None, targets: bool = False
    ) -> None:
        super().__init__(dataset)
        self.targets = targets
        self._resize = resize
        self._cache = cache

    def _read(self, index: int) -> tuple[Tensor, Target | None]:
        """The photograph, perhaps from the cache, and its target at its own size."""

        def make() -> Tensor:
            return resize_short_side(self.dataset.read_image(index), self._resize)

        path = self.dataset.images[index]
        image = make() if self._cache is None else self._cache.get(path, make)
        if not self.targets:
            return image, None
        target = self.dataset.read_target(index)
        if target is None or self.dataset.masks is None:
            raise UnreadableImage(path, "has no target")
        (height, width), size = height_and_width(target), image.shape[-2:]
        if with_short_side(height, width, min(size)) != size:
            whose = f"its target {self.dataset.masks[index]}"
            raise UnreadableImage(path, f"{whose} has other proportions: {width} x {height} pixels (width x height)")
        if isinstance(target, Tensor) and target.dtype == torch.uint8 and not (target >= 128).any():
            raise NoForeground(path)
        return image, target


class TrainItems(_ResizedItems):
    """Random views: ``image`` uint8 (3, S, S), ``colors`` float32 (5, 2) still to be applied to it, and ``path``.

    With targets also ``target``: uint8 (1, S, S) of 0 and 1, int64 (S, S), or instances, those without pixels left
    out, or panoptic. Without, no mask is opened.

    Keys are ``(epoch, index)``, and the view is a function of ``(seed, epoch, index)`` alone: neither the number of
    workers nor what was drawn before matters. A bare index means epoch 0.
    """

    def __init__(
        self,
        dataset: SegmentationDataset,
        transform: TrainTransform,
        seed: int,
        cache: ImageCache | None = None,
        targets: bool = False,
    ) -> None:
        super().__init__(dataset, transform.resize, cache, targets)
        self.transform = transform
        self.seed = seed

    def _item(self, key: int | tuple[int, int]) -> Item | Emptied:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        image, target = self._read(index)
        generator = self.generator(epoch, index)
        view = self.transform.draw(image.shape[-2], image.shape[-1], generator)
        colors = self.transform.draw_colors(generator)
        item = {"image": view.image(image), "colors": colors, "path": str(self.dataset.images[index])}
        return item if target is None else _with_target(item, view.target(target))

    def generator(self, epoch: int, index: int) -> torch.Generator:
        """What the view of an image is drawn from."""
        mixed = SeedSequence([self.seed, epoch, index]).generate_state(1, np.uint64)[0]
        return torch.Generator().manual_seed(int(mixed))


class CropItems(_ResizedItems):
    """The middle of each photograph: ``image`` uint8 (3, S, S), ``path``, and ``mask`` float (1, S, S) of 0 and 1.

    Masks are for pictures alone: one that cannot be read, or of other proportions than its image, is nan. With
    ``targets`` there is also ``target``, as in training, and ``mask`` is the same where that is a mask.
    """

    def __init__(
        self,
        dataset: SegmentationDataset,
        crop: CenterCropTransform,
        cache: ImageCache | None = None,
        targets: bool = False,
    ) -> None:
        super().__init__(dataset, crop.resize, cache, targets)
        self.crop = crop

    def _item(self, index: int) -> Item | Emptied:
        image, target = self._read(index)
        item = {"image": self.crop.cut(image), "path": str(self.dataset.images[index])}
        if target is not None:
            return _with_target(item, self.crop.cut_target(target, image.shape[-2], image.shape[-1]))
        if self.dataset.masks is not None:
            item["mask"] = self._mask(index, image.shape[1:])
        return item

    def _mask(self, index: int, size: torch.Size) -> Tensor:
        none = torch.full((1, self.crop.size, self.crop.size), torch.nan)
        try:
            mask = self.dataset.read_mask(index)
        except UnreadableImage:
            return none
        mask = None if mask is None else resize_short_side(mask, self.crop.resize)
        return none if mask is None or mask.shape[1:] != size else (self.crop.cut(mask) >= 128).float()


class WholeItems(_Items):
    """Whole photographs: ``image`` (3, h, w), ``photo`` and ``mask`` uint8 (·, H, W), ``path``.

    A dataset whose targets are label maps has ``labels`` int64 (1, H, W) instead of ``mask``, and one whose targets are
    panoptic has ``target``.

    ``image`` is what ``transform`` makes of the photograph for the network. With ``crop`` instead, photograph and mask
    are first cut to its square, and all three have its size, uint8. ``boxes`` is an array
    (n, 4), float64, in pixels of the whole photograph: an array, because not every device knows float64.
    """

    def __init__(
        self, dataset: SegmentationDataset, transform: Transform, crop: CenterCropTransform | None = None
    ) -> None:
        super().__init__(dataset)
        self.transform = transform
        self.crop = crop

    def _item(self, index: int) -> Item:
        sample = self.dataset[index]
        photo, mask = sample["image"], sample["target"]
        if self.crop is not None:
            photo = self.crop(photo)
            mask = self.crop(mask) if isinstance(mask, Tensor) else None
        image = self.transform(photo) if self.crop is None else photo
        item: Item = {"image": image, "photo": photo, "path": sample["path"]}
        if mask is not None:
            item[_TRUTHS.get(sample["target_kind"] or "", "mask")] = mask
        if sample["ignored"] is not None:
            item["ignored"] = sample["ignored"] if self.crop is None else self.crop(sample["ignored"] * 255) > 127
        if sample["boxes"] is not None:
            item["boxes"] = sample["boxes"].numpy()
        return item


def collate_lists(items: Sequence[Item | Skipped | Emptied], names: Sequence[str]) -> dict[str, Any]:
    """A batch of lists, one for each of ``names``; ``skipped`` has ``(path, reason)`` of the items they lack.

    ``photo`` is :class:`OnHost`.
    """
    good = [item for item in items if isinstance(item, dict)]
    batch: dict[str, Any] = {name: [item[name] for item in good] for name in names}
    if "photo" in batch:
        batch["photo"] = OnHost(batch["photo"])
    # Plain tuples: what moves batches to a device rebuilds them without knowing their class.
    batch["skipped"] = [tuple(item) for item in items if isinstance(item, Skipped)]
    return batch


def collate_stacked(
    items: Sequence[Item | Skipped | Emptied],
    names: Sequence[str],
    size: int,
    targets: TargetKind | None = None,
    finish: bool = False,
) -> dict[str, Any]:
    """The same with uint8 images (B, 3, size, size), masks (B, 1, size, size) and an array of colours (B, 5, 2).

    B is 0 where every file is broken. Targets are uint8 (B, 1, size, size), int64 (B, size, size), or lists of
    instances or of panoptic targets; with masks, ``empty`` counts the items that are left out because theirs has no
    foreground, and ``without_mask`` has the paths of those whose whole mask has none. With ``finish``, the batch is
    :func:`finished` in the worker.
    """
    batch = collate_lists(items, names)
    nothing = {
        "image": torch.empty(0, 3, size, size, dtype=torch.uint8),
        "mask": torch.empty(0, 1, size, size),
    }
    if targets == "mask":
        emptied = [item for item in items if isinstance(item, Emptied)]
        batch["empty"] = len(emptied)
        batch["without_mask"] = [item.path for item in emptied if item.whole]
        nothing["target"] = torch.empty(0, 1, size, size, dtype=torch.uint8)
    elif targets == "labels":
        nothing["target"] = torch.empty(0, size, size, dtype=torch.int64)
    for name, none in nothing.items():
        if name in batch:
            batch[name] = torch.stack(batch[name]) if batch[name] else none
    if "colors" in batch:
        batch["colors"] = np.array(batch["colors"], np.float32).reshape(-1, 5, 2)
    return finished(batch) if finish else batch


def finished(batch: dict[str, Any]) -> dict[str, Any]:
    """The batch as models see it: uint8 images become normalised float32, with adjusted colours, masks float32.

    Runs on the device that the images lie on; a batch that is finished stays as it is.
    """
    batch = dict(batch)
    images, colors, target = batch["image"], batch.pop("colors", None), batch.get("target")
    if isinstance(target, Tensor) and target.dtype == torch.uint8:
        batch["target"] = target.float()
    if isinstance(images, list):
        batch["image"] = [_normalized(image) for image in images]
    else:
        batch["image"] = _normalized(images) if colors is None else to_colored_input(images, colors)
    return batch


def make_loader(
    items: Dataset[Any],
    collate: Collate,
    workers: int,
    kind: type[DataLoader[Any]] = DataLoader,
    persistent: bool = False,
    **batches: Any,
) -> DataLoader[Any]:
    """A loader whose workers need no shared memory; ``persistent`` ones, if there are any, live as long as it does.

    ``batches`` are ``batch_size``, ``sampler``, ``drop_last`` or ``batch_sampler`` of the ``DataLoader``.
    """
    if workers and not _has_locks():
        warnings.warn(
            f"There is no shared memory left ({_SHARED}): files are read without reading processes. "
            "Docker gives more with --shm-size=1g.",
            stacklevel=2,
        )
        workers = 0
    return kind(
        items,
        collate_fn=collate,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=persistent and workers > 0,
        worker_init_fn=_begin_worker,
        **batches,
    )


def _begin_worker(number: int) -> None:
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)  # a signal to the whole command is for the main process, which ends its workers
    ForkingPickler.register(Tensor, _handed_over)
    sys.excepthook = _say_no_more_once_alone


def _say_no_more_once_alone(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Keep quiet about a main process that is gone: multiprocessing's own thread would print a traceback."""
    if not issubclass(kind, (EOFError, ConnectionError, multiprocessing.AuthenticationError)):
        sys.__excepthook__(kind, error, trace)


def _handed_over(tensor: Tensor) -> Any:
    """How a worker hands a tensor over: in shared memory, or through its pipe where that is full.

    torch's own way ends in the thread that sends the batch, which then never arrives.
    """
    try:
        if tensor.is_shared() or _has_room(tensor.untyped_storage().nbytes()):
            return reduce_tensor(tensor.share_memory_())
    except RuntimeError:  # another process was quicker
        pass
    return torch.from_numpy, (tensor.detach().numpy(),)


def _has_room(size: int) -> bool:
    return not _SHARED.is_dir() or shutil.disk_usage(_SHARED).free >= size + _LEFT_FREE


def _has_locks() -> bool:
    """Whether this process can talk to others at all: their locks lie in shared memory."""
    try:
        multiprocessing.Lock()
    except OSError:
        return False
    return True


def _normalized(image: Tensor) -> Tensor:
    return image if image.is_floating_point() else to_input(image)


def _seen(instances: Instances) -> Instances:
    return instances.select(instances.masks.flatten(1).any(dim=1))


def _with_target(item: Item, target: Target) -> Item | Emptied:
    if isinstance(target, Panoptic):
        return item | {"target": target._replace(instances=_seen(target.instances))}
    if isinstance(target, Instances):
        return item | {"target": _seen(target)}
    if target.dtype == torch.int64:
        return item | {"target": target[0]}
    mask = (target >= 128).to(torch.uint8)
    if not mask.any():
        return Emptied(item["path"])
    return item | {"target": mask, "mask": mask.float()}
