"""COCO 2017 with objects and stuff for every pixel."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from segtricks.data.coco import reading_coco
from segtricks.data.datasets.classed import ClassedDataset, Segment, panoptic_target
from segtricks.data.datasets.coco17 import IMAGES, COCO17Folder
from segtricks.data.download.archive import Archive
from segtricks.data.images import UnreadableImage, read_image
from segtricks.data.pairing import LeftOut
from segtricks.data.sample import Instances, Panoptic, TargetKind


class COCO17Panoptic(ClassedDataset, COCO17Folder):
    """Photographs of a split with segments of 80 kinds of things and 15 of stuff.

    Things have the ids of COCO's categories, 1 to 90. Its 53 kinds of stuff are joined to their super-categories, which
    are numbered by their first appearance in the order of the ids: textile 1, building, raw-material, furniture, floor,
    plant, food, ground, structural, water, wall, window, ceiling, sky, solid 15. Segments stay apart, see
    :class:`segtricks.data.Panoptic`.

    Args:
        root: The folder above ``coco``, or that folder.
        require_masks: False where only photographs are needed: the annotations are not opened.
        strict: An unexpected number of images is an error instead of a warning.

    Raises:
        UserError: A file or folder is missing, or the annotations are not COCO's.

    Source: the 15 kinds are those of Niu et al., "Unsupervised Universal Image Segmentation", CVPR 2024.
    """

    target_kinds: tuple[TargetKind, ...] = ("mask", "instances", "panoptic")
    citation = 'Kirillov, He, Girshick, Rother, Dollár, "Panoptic Segmentation", CVPR 2019; Lin et al., ECCV 2014'

    def __init__(self, root: str | Path = "data", require_masks: bool = True, strict: bool = False) -> None:
        root = Path(root).expanduser()
        images = self._photographs(root)
        self.annotations_at = self.folder / f"annotations/panoptic_{self.split}2017"
        self.left_out: list[LeftOut] = []
        masks = None
        if require_masks:
            self._read(self._read_slowly(self.annotations_at.with_suffix(".json"), root))
            self.left_out = [LeftOut(image, "no_mask") for image in images if image.stem not in self._files]
            images = [image for image in images if image.stem in self._files]
            masks = [self.annotations_at / self._files[image.stem] for image in images]
            missing = [path for path in masks if not path.is_file()]
            if missing:
                raise self._missing(root, f"no map of {len(missing):,} of its images, such as {missing[0]}")
        self._check_count(len(images), root, strict)
        super().__init__(images, masks)

    def read_instances(self, index: int) -> Instances:
        """Things alone, crowds included; all scores are 1."""
        return self.read_panoptic(index).instances

    def read_panoptic(self, index: int) -> Panoptic:
        """Things, crowds included, and stuff."""
        assert self.masks is not None
        numbers = _numbers(self.masks[index])
        segments = [self._segment(*row) for row in self._rows[self.images[index].stem].tolist()]
        unknown = set(numbers.unique().tolist()).difference([0], [segment.number for segment in segments])
        if unknown:
            raise UnreadableImage(self.masks[index], f"holds the segment {min(unknown)}, which its JSON file lacks")
        return panoptic_target(numbers, segments)

    def _segment(self, number: int, category: int, is_crowd: int) -> Segment:
        stuff = self._stuff.get(category)
        return Segment(number, category if stuff is None else stuff, stuff is None, bool(is_crowd))

    def _read(self, path: Path) -> None:
        """Names of the maps and rows (number, category, crowd) of their segments, by the photograph's stem."""
        with reading_coco(path):
            content = json.loads(path.read_bytes())
            self._stuff = stuff_numbers(content["categories"])
            stems = {image["id"]: PurePosixPath(image["file_name"]).stem for image in content["images"]}
            known = {category["id"] for category in content["categories"]}
            self._files: dict[str, str] = {}
            self._rows: dict[str, NDArray[np.int64]] = {}
            for item in content["annotations"]:
                stem = stems[item["image_id"]]
                self._files[stem] = item["file_name"]
                self._rows[stem] = _rows(item["segments_info"], known)


def _segments(split: str, count: int) -> Archive:
    name = f"annotations/panoptic_{split}2017"
    return Archive(
        "http://images.cocodataset.org/annotations/panoptic_annotations_trainval2017.zip",
        folder="coco",
        size=860_725_834,
        sha256="c05f76d2129b6b561eb70efe16e7006df62f73fb92889132d373b9d90e31a370",
        nested=True,
        leaves=((name, count), (f"{name}.json", 1)),
    )


class COCO17PanopticTrain(COCO17Panoptic):
    """COCO 2017 train with panoptic segments.

    Size: 118,287 images of about 640 x 480 pixels, 20.2 GB. Format: ``coco/train2017/*.jpg``,
    ``coco/annotations/panoptic_train2017.json`` and ``coco/annotations/panoptic_train2017/*.png``, whose red, green and
    blue are the number of a pixel's segment, red + 256 green + 65536 blue, 0 for none.
    Source: https://cocodataset.org/
    """

    title = "COCO17-panoptic-train"
    split = "train"
    expected = 118_287
    archives = (IMAGES["train"], _segments("train", 118_287))


class COCO17PanopticVal(COCO17Panoptic):
    """COCO 2017 val with panoptic segments; format as :class:`COCO17PanopticTrain`.

    Size: 5,000 images, 1.7 GB.
    """

    title = "COCO17-panoptic-val"
    split = "val"
    expected = 5_000
    archives = (IMAGES["val"], _segments("val", 5_000))


def stuff_numbers(categories: Iterable[Mapping[str, Any]]) -> dict[int, int]:
    """Return the number of the super-category, from 1, of each category of stuff, by its id."""
    stuff = sorted((item for item in categories if not item["isthing"]), key=lambda item: item["id"])
    names = list(dict.fromkeys(item["supercategory"] for item in stuff))
    return {item["id"]: names.index(item["supercategory"]) + 1 for item in stuff}


def _rows(segments: Iterable[Mapping[str, Any]], known: set[int]) -> NDArray[np.int64]:
    rows = [(item["id"], item["category_id"], int(item["iscrowd"])) for item in segments]
    foreign = {category for _, category, _ in rows}.difference(known)
    if foreign:
        raise ValueError(f"it has segments of the category {min(foreign)}, which it does not list")
    return np.array(rows, np.int64).reshape(-1, 3)


def _numbers(path: Path) -> Tensor:
    """The number of each pixel's segment, int64 (1, H, W)."""
    red, green, blue = read_image(path).long().split(1)
    return red + 256 * green + 65536 * blue
