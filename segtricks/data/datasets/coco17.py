"""COCO 2017: photographs with the outlines of their objects."""

import sys
from pathlib import Path
from typing import ClassVar, Literal

from segtricks.data.coco import CocoMasks
from segtricks.data.datasets.drawn import DrawnObjects
from segtricks.data.datasets.published import PublishedDataset
from segtricks.data.download.archive import Archive
from segtricks.data.pairing import LeftOut
from segtricks.data.sample import TargetKind

_SITE = "http://images.cocodataset.org"

IMAGES = {
    "train": Archive(
        f"{_SITE}/zips/train2017.zip",
        folder="coco",
        size=19_336_861_798,
        sha256="69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929",
        leaves=(("train2017", 118_287),),
    ),
    "val": Archive(
        f"{_SITE}/zips/val2017.zip",
        folder="coco",
        size=815_585_330,
        sha256="4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05",
        leaves=(("val2017", 5_000),),
    ),
}
"""The photographs of each split."""


class COCO17Folder(PublishedDataset):
    """What all sets on the photographs of COCO 2017 share: where these lie."""

    split: ClassVar[Literal["train", "val"]]
    folders: ClassVar[tuple[str, ...]] = ("coco", "COCO", "coco2017", "COCO2017")
    license_note = "annotations CC BY 4.0; images under Flickr's terms"
    citation = 'Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014'

    def _photographs(self, root: Path) -> list[Path]:
        """All photographs of the split, in ``train2017`` or ``images/train2017``; sets ``folder``, the one above."""
        found = self._find(root, f"{self.split}2017", f"images/{self.split}2017")
        self.folder = found.parent.parent if found.parent.name == "images" else found.parent
        return sorted(found.glob("*.jpg"))

    def _read_slowly(self, path: Path, root: Path) -> Path:
        """Check that a file is there, and say that it is read: those of ``train`` have hundreds of megabytes."""
        if not path.is_file():
            raise self._missing(root, f"no file {path}")
        if sys.stderr.isatty():
            print(f"reading {path} …", file=sys.stderr)
        return path


class COCO17(DrawnObjects, COCO17Folder):
    """Photographs of a split and their objects of 80 kinds, with the ids of COCO's categories, 1 to 90.

    Args:
        root: The folder above ``coco``, or that folder.
        require_masks: False where only photographs are needed: the annotations are not opened.
        strict: An unexpected number of images is an error instead of a warning.

    Raises:
        UserError: A file or folder is missing, or the annotations are not COCO's.
    """

    target_kinds: tuple[TargetKind, ...] = ("mask", "instances", "panoptic")

    def __init__(self, root: str | Path = "data", require_masks: bool = True, strict: bool = False) -> None:
        root = Path(root).expanduser()
        images = self._photographs(root)
        self.annotations_at = self.folder / f"annotations/instances_{self.split}2017.json"
        self.left_out: list[LeftOut] = []
        if require_masks:
            self.drawn = CocoMasks(self._read_slowly(self.annotations_at, root))
            known = [image for image in images if image.stem in self.drawn.names]
            self.left_out = [LeftOut(image, "no_mask") for image in images if image.stem not in self.drawn.names]
            images = known
        self._check_count(len(images), root, strict)
        super().__init__(self.title, images, [self.annotations_at] * len(images) if require_masks else None)


def _outlines(split: str) -> Archive:
    return Archive(
        f"{_SITE}/annotations/annotations_trainval2017.zip",
        folder="coco",
        size=252_907_541,
        sha256="113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268",
        leaves=((f"annotations/instances_{split}2017.json", 1),),
    )


class COCO17Train(COCO17):
    """COCO 2017 train.

    Size: 118,287 images of about 640 x 480 pixels, 19.6 GB. Format: ``coco/train2017/*.jpg`` and
    ``coco/annotations/instances_train2017.json``.
    Source: https://cocodataset.org/
    """

    title = "COCO17-train"
    split = "train"
    expected = 118_287
    archives = (IMAGES["train"], _outlines("train"))


class COCO17Val(COCO17):
    """COCO 2017 val; format as :class:`COCO17Train`.

    Size: 5,000 images, 1.1 GB.
    """

    title = "COCO17-val"
    split = "val"
    expected = 5_000
    archives = (IMAGES["val"], _outlines("val"))
