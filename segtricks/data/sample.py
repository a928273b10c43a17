"""The base of all datasets: photographs, each perhaps with a target or boxes, read one at a time."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Self, TypedDict

from numpy.random import default_rng
from torch import Tensor
from torch.utils.data import Dataset

from segtricks.data.boxes import ImageBoxes
from segtricks.data.images import UnreadableImage, read_image, read_labels, read_mask
from segtricks.errors import UserError

TargetKind = Literal["mask", "labels", "instances", "panoptic"]
"""One soft or binary mask an image; a map of class ids; any number of masks, each with a class and a score; or these
with a map of stuff."""

_HOLD_OUT_SEED = 0


class Instances(NamedTuple):
    """Objects of one image; n may be 0.

    Args:
        masks: bool (n, H, W).
        labels: int64 (n,).
        scores: float32 (n,).
        crowd: bool (n,), which are crowds; None where none is.
        boxes: (n, 4) x0, y0, x1, y1 in pixels, where they are stated and not just those around the masks.
    """

    masks: Tensor
    labels: Tensor
    scores: Tensor
    crowd: Tensor | None = None
    boxes: Tensor | None = None

    def select(self, kept: Tensor) -> "Instances":
        """Return those that ``kept`` (n,) bool marks."""
        return Instances(*(None if values is None else values[kept] for values in self))  # type: ignore[arg-type]


class Panoptic(NamedTuple):
    """Objects and stuff of one image: ``instances``, and ``semantic`` int64 (1, H, W).

    That is 0 on any object, 1 and above the class of stuff, 255 where nothing is known.
    """

    instances: Instances
    semantic: Tensor


Target = Tensor | Instances | Panoptic
"""Of kind mask uint8 (1, H, W), of kind labels int64 (1, H, W), :class:`Instances` or :class:`Panoptic`."""


class Sample(TypedDict):
    """One photograph: ``image`` uint8 (3, H, W); ``boxes`` float64 (n, 4), half-open x0, y0, x1, y1 in pixels."""

    image: Tensor
    target: Target | None
    target_kind: TargetKind | None
    boxes: Tensor | None
    path: str


class SegmentationDataset(Dataset[Sample]):
    """Photographs and, where there are any, their targets and boxes: ``dataset[i]`` is a :class:`Sample`.

    A subclass finds its files and hands them here, sorted; one whose files are not plain images overrides
    ``read_image`` and ``read_mask``, and ``read_labels``, ``read_instances`` and ``read_panoptic`` where it has such
    targets.

    Args:
        name: What reports call the dataset.
        images: One path for each photograph.
        masks: One path for each photograph in the same order, or None where there are no targets.
        annotations: Boxes of each photograph in the same order, or None where there are none.
    """

    target_kinds: tuple[TargetKind, ...] = ("mask", "labels")
    """What ``masks`` can be read as."""

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
        self._read_as: TargetKind = "mask"

    @property
    def target_kind(self) -> TargetKind | None:
        """Kind of the targets, None without any."""
        return None if self.masks is None else self._read_as

    def __len__(self) -> int:
        """Number of photographs."""
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        """Image, target and boxes; an ``UnreadableImage`` where a file cannot be read, or sizes differ."""
        image, target, boxes = self.read_image(index), self.read_target(index), None
        if target is not None:
            which = "" if self.masks is None else f" ({self.masks[index]})"
            self._check_size(index, image, height_and_width(target), f"its mask{which}")
        if self.annotations is not None:
            self._check_size(index, image, self.annotations[index].size, "its annotation")
            boxes = self.annotations[index].boxes
        path = str(self.images[index])
        return Sample(image=image, target=target, target_kind=self.target_kind, boxes=boxes, path=path)

    def read_image(self, index: int) -> Tensor:
        """Photograph alone, uint8 (3, H, W)."""
        return read_image(self.images[index], self._content(self.images[index]))

    def read_target(self, index: int) -> Target | None:
        """Target alone, of the kind ``target_kind``."""
        if self.target_kind == "mask":
            return self.read_mask(index)
        if self.target_kind == "labels":
            return self.read_labels(index)
        if self.target_kind == "instances":
            return self.read_instances(index)
        if self.target_kind == "panoptic":
            return self.read_panoptic(index)
        return None

    def read_mask(self, index: int) -> Tensor | None:
        """Mask alone, uint8 (1, H, W)."""
        return None if self.masks is None else read_mask(self.masks[index], self._content(self.masks[index]))

    def read_labels(self, index: int) -> Tensor | None:
        """Label map alone, int64 (1, H, W)."""
        return None if self.masks is None else read_labels(self.masks[index], self._content(self.masks[index]))

    def read_instances(self, index: int) -> Instances | None:
        """Objects alone; only for datasets with "instances" among their ``target_kinds``."""
        raise NotImplementedError(f"{type(self).__name__} has no instances")

    def read_panoptic(self, index: int) -> Panoptic:
        """Objects and stuff; only for datasets with "panoptic" among their ``target_kinds``."""
        raise NotImplementedError(f"{type(self).__name__} has no panoptic targets")

    def with_targets(self, kind: TargetKind) -> Self:
        """The same dataset, its masks read as targets of this kind; a ``UserError`` where that is not possible."""
        kinds = () if self.masks is None else self.target_kinds
        if kind not in kinds:
            raise UserError(f"{self.name} has no targets of the kind {kind!r}; it has {' or '.join(kinds) or 'none'}.")
        chosen = copy.copy(self)
        chosen._read_as = kind
        return chosen

    def select(self, indices: Sequence[int]) -> Self:
        """The same dataset with only these items, in this order."""
        chosen = copy.copy(self)
        chosen.images = [self.images[index] for index in indices]
        chosen.masks = None if self.masks is None else [self.masks[index] for index in indices]
        chosen.annotations = None if self.annotations is None else [self.annotations[index] for index in indices]
        return chosen

    def part(self, start: int | None, stop: int | None) -> Self:
        """Items ``start`` to ``stop``, counted as in a Python slice; a ``UserError`` where nothing is left."""
        chosen = self.select(range(len(self))[start:stop])
        if not len(chosen):
            text = f"[{'' if start is None else start}:{'' if stop is None else stop}]"
            raise UserError(f"{self.name}{text} is empty: {self.name} has {len(self):,} images, 0 to {len(self) - 1}.")
        return chosen

    def hold_out(self, held_out: int | float, limit: int | None = None) -> tuple[Self, Self]:
        """Training and held-out images, each in file order.

        One permutation, the same in every run, decides: the held-out images come first in it, and a limit takes its
        first images. Runs with other seeds validate on the same images, and smaller limits are subsets of larger ones.

        Args:
            held_out: Number of images to hold out, at least one, or their share below 1.
            limit: Use only so many images, held-out ones included.
        """
        order = default_rng(_HOLD_OUT_SEED).permutation(len(self))[:limit].tolist()
        if held_out <= 0 or (isinstance(held_out, float) and held_out >= 1):
            raise UserError(f"held_out is {held_out}: pass a number of images from 1 on, or a share such as 0.02.")
        count = held_out if isinstance(held_out, int) else max(1, round(held_out * len(order)))
        if count >= len(order):
            raise UserError(
                f"held_out {held_out} of {self.name}, which has {len(order)} images in all, leaves none to train on: "
                f"pass --data.held_out {max(1, len(order) // 10)}, or more images."
            )
        return self.select(sorted(order[count:])), self.select(sorted(order[:count]))

    def _content(self, path: Path) -> bytes | None:
        """Content of a file, None for a path on disk."""
        return None

    def _check_size(self, index: int, image: Tensor, size: Sequence[int], whose: str) -> None:
        if tuple(image.shape[1:]) != tuple(size):
            (height, width), (other_height, other_width) = image.shape[1:], size
            reason = f"the image is {width} x {height} pixels, {whose} {other_width} x {other_height} (width x height)"
            raise UnreadableImage(self.images[index], reason)


SaliencyDataset = SegmentationDataset
"""The name of :class:`SegmentationDataset` when all targets were binary masks."""


def height_and_width(target: Target) -> tuple[int, int]:
    """Size of a target in pixels."""
    if isinstance(target, Panoptic):
        target = target.semantic
    pixels = target.masks if isinstance(target, Instances) else target
    return pixels.shape[-2], pixels.shape[-1]
