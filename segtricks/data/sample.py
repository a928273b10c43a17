"""The base of all datasets: photographs, each perhaps with a target or boxes, read one at a time."""

import copy
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self, TypedDict

from numpy.random import default_rng
from torch import Tensor
from torch.utils.data import Dataset

from segtricks.data.boxes import ImageBoxes
from segtricks.data.images import UnreadableImage, read_image, read_labels, read_orientation
from segtricks.data.orientation import turn, turn_boxes
from segtricks.data.problems import Problems
from segtricks.data.reading import Reading
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
    """Objects and stuff of one image.

    Args:
        instances: the objects.
        semantic: int64 (1, H, W), 0 on any object, 1 and above the class of stuff, 255 where nothing is known.
        segments: int64 (1, H, W), numbers that tell segments of one class of stuff apart; None where each is one.
    """

    instances: Instances
    semantic: Tensor
    segments: Tensor | None = None


Target = Tensor | Instances | Panoptic
"""Of kind mask uint8 (1, H, W), of kind labels int64 (1, H, W), :class:`Instances` or :class:`Panoptic`."""


class Sample(TypedDict):
    """One photograph: ``image`` uint8 (3, H, W); ``boxes`` float64 (n, 4), half-open x0, y0, x1, y1 in pixels.

    ``ignored``, bool (1, H, W), is the pixels that are not scored, None where all are.
    """

    image: Tensor
    target: Target | None
    ignored: Tensor | None
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

    box_problems: Problems | None = None
    """What is wrong with the file of boxes."""

    target_kinds: tuple[TargetKind, ...] = ("mask", "labels")
    """What ``masks`` can be read as."""

    classes: tuple[str, ...] = ()
    """Names of the classes of its label maps, from 0 on, where they are known."""

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
        self.reading = Reading(self.images, self.masks or (), self._content)
        """How the files of the whole set are read, which all its parts share."""

    @property
    def problems(self) -> list[Problems]:
        """What is wrong with the files of annotations, where anything may be."""
        return [] if self.box_problems is None else [self.box_problems]

    def about(self) -> dict[str, Any]:
        """Return what a result says of how files were read; nothing where there is nothing unusual."""
        reading = self.reading.unusual(*self._what_is_read())
        problems = [each.as_dict() for each in self.problems if each]
        return ({"reading": reading} if reading else {}) | ({"annotations": problems} if problems else {})

    @property
    def target_kind(self) -> TargetKind | None:
        """Kind of the targets, None without any."""
        return None if self.masks is None else self._read_as

    def __len__(self) -> int:
        """Number of photographs."""
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        """Image, target and boxes; an ``UnreadableImage`` where a file cannot be read, or sizes differ."""
        image, target, boxes, ignored = self.read_image(index), self.read_target(index), None, None
        if target is not None:
            which = "" if self.masks is None else f" ({self.masks[index]})"
            self._check_size(index, image, height_and_width(target), f"its mask{which}")
            ignored = self.read_ignored(index)
        annotation = self.read_annotation(index)
        if annotation is not None:
            self._check_size(index, image, annotation.size, "its annotation")
            boxes = annotation.boxes
        kind, path = self.target_kind, str(self.images[index])
        return Sample(image=image, target=target, ignored=ignored, target_kind=kind, boxes=boxes, path=path)

    def read_image(self, index: int) -> Tensor:
        """Photograph alone, uint8 (3, H, W)."""
        return read_image(self.images[index], self._content(self.images[index]), self.reading.white)

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
        """Mask alone, uint8 (1, H, W), read as the masks of the whole set are."""
        if self.masks is None:
            return None
        mask, _, _ = self.reading.masks.read(self.masks[index], self._content(self.masks[index]))
        return self._upright(index, mask)

    def read_ignored(self, index: int) -> Tensor | None:
        """Pixels that are not scored, bool (1, H, W), None where all are."""
        if self.target_kind != "mask" or self.masks is None or not self.reading.masks.ignore:
            return None
        _, ignored, _ = self.reading.masks.read(self.masks[index], self._content(self.masks[index]))
        return self._upright(index, ignored)

    def read_annotation(self, index: int) -> ImageBoxes | None:
        """Boxes alone; an ``UnreadableImage`` where the annotation is not usable."""
        if self.annotations is None:
            return None
        annotation, path = self.annotations[index], self.images[index]
        if annotation.fault:
            raise UnreadableImage(path, annotation.fault)
        if self.reading.orientation == "exif":
            return annotation
        return turn_boxes(annotation, read_orientation(path, self._content(path)))

    @property
    def white(self) -> int:
        """Gray value of white in photographs of 16 bits."""
        return self.reading.white

    def decide_reading(self) -> None:
        """Decide how files are read, before worker processes start.

        Raises:
            UserError: the masks hold classes, and it was not said which are foreground.
        """
        _ = self.white
        if self.masks is not None and self._read_as == "mask":
            _ = self.reading.masks

    def warn_of_reading(self, name: str, targets: bool = True) -> None:
        """Say once how photographs and ``targets`` are read, where that is unusual; ``name`` is the data set's."""
        for line in self._reading_lines() if targets else self.reading.lines(False, False):
            warnings.warn(f"{name}: {line}", stacklevel=3)

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

    def _what_is_read(self) -> tuple[bool, bool]:
        """Whether masks are read as such, and whether there is anything drawn."""
        drawn = self.masks is not None or self.annotations is not None
        return self.masks is not None and self._read_as == "mask", drawn

    def _reading_lines(self) -> list[str]:
        return self.reading.lines(*self._what_is_read())

    def _upright(self, index: int, pixels: Tensor) -> Tensor:
        """Turn what was drawn on a photograph's stored pixels."""
        if self.reading.orientation == "exif":
            return pixels
        return turn(pixels, read_orientation(self.images[index], self._content(self.images[index])))

    def _content(self, path: Path) -> bytes | None:
        """Content of a file, None for a path on disk."""
        return None

    def _check_size(self, index: int, image: Tensor, size: Sequence[int], whose: str) -> None:
        if tuple(image.shape[1:]) != tuple(size):
            (height, width), (other_height, other_width) = image.shape[1:], size
            reason = f"the image is {width} x {height} pixels, {whose} {other_width} x {other_height} (width x height)"
            if (height, width) == (other_width, other_height):
                reason += "; --data.orientation raw turns what was drawn on pixels as they are stored"
            raise UnreadableImage(self.images[index], reason)


SaliencyDataset = SegmentationDataset
"""The name of :class:`SegmentationDataset` when all targets were binary masks."""


def height_and_width(target: Target) -> tuple[int, int]:
    """Size of a target in pixels."""
    if isinstance(target, Panoptic):
        target = target.semantic
    pixels = target.masks if isinstance(target, Instances) else target
    return pixels.shape[-2], pixels.shape[-1]
