"""Cityscapes: streets of German cities with a class for every pixel, and every object apart."""

from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from segtricks.data.datasets.classed import ClassedDataset, Segment, mapped_labels, panoptic_target
from segtricks.data.download.archive import Archive
from segtricks.data.images import read_labels
from segtricks.data.sample import Instances, Panoptic, TargetKind
from segtricks.data.transforms import VOID

_FIRST = 7  # ids below are no classes: unlabelled, the own car, what was not looked at
_NAMES = (
    *("road", "sidewalk", "parking", "rail track", "building", "wall", "fence", "guard rail", "bridge", "tunnel"),
    *("pole", "polegroup", "traffic light", "traffic sign", "vegetation", "terrain", "sky", "person", "rider", "car"),
    *("truck", "bus", "caravan", "trailer", "train", "motorcycle", "bicycle"),
)
_NOT_SCORED = ("parking", "rail track", "guard rail", "bridge", "tunnel", "polegroup", "caravan", "trailer")
_THINGS = ("person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle")
_STUFF = tuple(name for name in _NAMES if name not in (*_NOT_SCORED, *_THINGS))
_GROUP = 1000
"""Objects have 1000 times the id of their class and their number; below are stuff and groups that were not parted."""

_ACCOUNT = "https://www.cityscapes-dataset.com/login/"


class Cityscapes(ClassedDataset):
    """Photographs of a split with their classes and objects.

    As label maps they have 27 classes, 0 to 26: the ids of Cityscapes from 7 on, all others unknown, as STEGO reads
    them. As panoptic maps they have the 19 classes that Cityscapes scores: 8 of things (person 1, rider, car, truck,
    bus, train, motorcycle, bicycle 8) and 11 of stuff (road 1 to sky 11); groups of things that were not parted are
    crowds.

    Args:
        root: The folder above ``cityscapes``, or that folder.
        require_masks: False where only photographs are needed: no map is looked for.
        strict: An unexpected number of images is an error instead of a warning.

    Raises:
        UserError: A folder or map is missing.
    """

    folders = ("cityscapes", "Cityscapes", "CityScapes")
    target_kinds: tuple[TargetKind, ...] = ("mask", "labels", "instances", "panoptic")
    classes = _NAMES
    license_note = "for research; an account is needed"
    citation = 'Cordts et al., "The Cityscapes Dataset for Semantic Urban Scene Understanding", CVPR 2016'
    split: ClassVar[str]

    def __init__(self, root: str | Path = "data", require_masks: bool = True, strict: bool = False) -> None:
        root = Path(root).expanduser()
        photographs = self._find(root, f"leftImg8bit/{self.split}")
        images = sorted(photographs.glob("*/*_leftImg8bit.png"))
        self._check_count(len(images), root, strict)
        base = photographs.parent.parent
        self.annotations_at = base / "gtFine" / self.split
        masks = [self._map(image, "instanceIds") for image in images]
        if not require_masks:
            super().__init__(images, None)
            return
        missing = [path for path in masks if not path.is_file()]
        if missing:
            raise self._missing(root, f"no map of {len(missing):,} of its images, such as {missing[0]}")
        super().__init__(images, masks)

    def read_labels(self, index: int) -> Tensor | None:
        """Label map of the 27 classes alone, int64 (1, H, W)."""
        return None if self.masks is None else mapped_labels(self._map(self.images[index], "labelIds"), _TABLE)

    def read_instances(self, index: int) -> Instances:
        """Things alone, crowds included; all scores are 1."""
        return self.read_panoptic(index).instances

    def read_panoptic(self, index: int) -> Panoptic:
        """The 8 kinds of things, crowds included, and the 11 of stuff."""
        numbers = read_labels(self._map(self.images[index], "instanceIds"))
        found = [_segment(number) for number in numbers.unique().tolist()]
        return panoptic_target(numbers, [segment for segment in found if segment is not None])

    def _map(self, image: Path, kind: str) -> Path:
        assert self.annotations_at is not None
        name = image.name.removesuffix("leftImg8bit.png")
        return self.annotations_at / image.parent.name / f"{name}gtFine_{kind}.png"


def _archives(split: str, count: int) -> tuple[Archive, Archive]:
    return (
        Archive(
            "https://www.cityscapes-dataset.com/file-handling/?packageID=3",
            folder="cityscapes",
            md5="0a6e97e94b616a514066c9e2adb0c97f",
            file="leftImg8bit_trainvaltest.zip",
            account=_ACCOUNT,
            leaves=((f"leftImg8bit/{split}", count),),
        ),
        Archive(
            "https://www.cityscapes-dataset.com/file-handling/?packageID=1",
            folder="cityscapes",
            md5="4237c19de34c8a376e9ba46b495d6f66",
            file="gtFine_trainvaltest.zip",
            account=_ACCOUNT,
            leaves=((f"gtFine/{split}", 4 * count),),
        ),
    )


class CityscapesTrain(Cityscapes):
    """Cityscapes train.

    Size: 2,975 images of 2048 x 1024 pixels, in archives of 11.5 GB. Format:
    ``cityscapes/leftImg8bit/train/CITY/*_leftImg8bit.png``, ``cityscapes/gtFine/train/CITY/*_gtFine_labelIds.png`` and
    ``*_gtFine_instanceIds.png``.
    Source: https://www.cityscapes-dataset.com/
    """

    title = "Cityscapes-train"
    split = "train"
    expected = 2_975
    archives = _archives(split, expected)


class CityscapesVal(Cityscapes):
    """Cityscapes val; format as :class:`CityscapesTrain`.

    Size: 500 images.
    """

    title = "Cityscapes-val"
    split = "val"
    expected = 500
    archives = _archives(split, expected)


def _table() -> Tensor:
    """The class of each id."""
    table = torch.full((VOID + 1,), -1)
    table[: _FIRST + len(_NAMES)] = torch.tensor([VOID] * _FIRST + list(range(len(_NAMES))))
    table[VOID] = VOID
    return table


_TABLE = _table()


def _segment(number: int) -> Segment | None:
    """The segment of a number in a map of instances; None of what is not scored."""
    place = (number // _GROUP if number >= _GROUP else number) - _FIRST
    name = _NAMES[place] if 0 <= place < len(_NAMES) else ""
    if name in _THINGS:
        return Segment(number, _THINGS.index(name) + 1, True, number < _GROUP)
    return Segment(number, _STUFF.index(name) + 1, False) if name in _STUFF else None
