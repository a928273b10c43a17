"""PASCAL VOC 2007 and 2012, trainval: the sets that single-object discovery is scored on."""

from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from segtricks.data.boxes import read_voc_boxes
from segtricks.data.datasets.published import PublishedDataset
from segtricks.data.download.archive import Archive
from segtricks.data.images import read_labels


class VOCFolder(PublishedDataset):
    """What all sets of one year's folder share: where it lies, and its lists."""

    year: ClassVar[str]
    license_note = "for research; images under Flickr's terms"

    def _bases(self, root: Path) -> list[Path]:
        bases = super()._bases(root)
        # Any other year's folder looks the same from within.
        name = root.resolve().name
        return bases[:-1] if name.startswith("VOC20") and name != f"VOC{self.year}" else bases

    def _listed(self, folder: Path, name: str, root: Path) -> list[str]:
        """Sorted stems of a list in ``ImageSets``."""
        path = folder / "ImageSets" / name
        if not path.is_file():
            raise self._missing(root, f"no list {path}")
        stems = sorted({line.split()[0] for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()})
        if not stems:
            raise self._missing(root, f"the list {path} is empty")
        return stems


class VOC(VOCFolder):
    """Photographs of one year's trainval list with the boxes of their XML files.

    Args:
        root: The folder above ``VOCdevkit``, that folder, or the year's own folder.
        require_boxes: False where only photographs are needed: no XML is opened.
        strict: An unexpected number of images is an error instead of a warning.
        hard: Keep difficult and truncated objects; without them, images that have no others are left out.

    Raises:
        UserError: A folder, list or file is missing.
    """

    def __init__(
        self, root: str | Path = "data", require_boxes: bool = True, strict: bool = False, hard: bool = True
    ) -> None:
        root = Path(root).expanduser()
        self.folder = self._find(root, "JPEGImages").parent
        self.annotations_at = self.folder / "Annotations"
        stems = self._listed(self.folder, "Main/trainval.txt", root)
        self._check_count(len(stems), root, strict)
        images = [self.folder / "JPEGImages" / f"{stem}.jpg" for stem in stems]
        super().__init__(self.title, images)
        if require_boxes:
            files = [self.annotations_at / f"{stem}.xml" for stem in stems]
            known = read_voc_boxes(self.annotations_at, files, hard).usable()
            known.problems.warn()
            self.annotations, self.box_problems = [known[stem] for stem in stems], known.problems
        if require_boxes and not hard:
            kept = self.select([i for i, place in enumerate(self.annotations or ()) if len(place.boxes) or place.fault])
            self.images, self.annotations = kept.images, kept.annotations

    def object_mask(self, index: int) -> Tensor | None:
        """Union of all objects, uint8 (1, H, W) of 0 and 255, or None for the many images that were not segmented.

        The undecided borders of ``SegmentationClass`` (value 255) are background.
        """
        path = self.folder / "SegmentationClass" / f"{self.images[index].stem}.png"
        if not path.is_file():
            return None
        classes = read_labels(path)
        return ((classes > 0) & (classes < 255)).to(torch.uint8) * 255


class VOC07(VOC):
    """PASCAL VOC 2007 trainval.

    Size: 5,011 images of about 500 x 375 pixels, 460 MB; 422 of them have masks. Format:
    ``VOCdevkit/VOC2007/{JPEGImages,Annotations,ImageSets,SegmentationClass}``, boxes as XML, counted from 1.
    Source: http://host.robots.ox.ac.uk/pascal/VOC/voc2007/
    """

    title = "VOC07"
    year = "2007"
    expected = 5_011
    folders = ("VOCdevkit/VOC2007", "VOC2007", "VOCdevkit/VOCdevkit/VOC2007")
    citation = (
        "Everingham, Van Gool, Williams, Winn, Zisserman, "
        '"The Pascal Visual Object Classes (VOC) Challenge", IJCV 88(2), 2010'
    )
    archives = (
        Archive(
            "https://thor.robots.ox.ac.uk/pascal/VOC/voc2007/VOCtrainval_06-Nov-2007.tar",
            md5="c52e279531787c972589f7e41ab4ae64",
        ),
    )


class VOC12(VOC):
    """PASCAL VOC 2012 trainval.

    Size: 11,540 images of about 500 x 375 pixels, 2.0 GB; 2,913 of them have masks. Format:
    ``VOCdevkit/VOC2012/{JPEGImages,Annotations,ImageSets,SegmentationClass}``, boxes as XML, counted from 1.
    Source: http://host.robots.ox.ac.uk/pascal/VOC/voc2012/
    """

    title = "VOC12"
    year = "2012"
    expected = 11_540
    folders = ("VOCdevkit/VOC2012", "VOC2012", "VOCdevkit/VOCdevkit/VOC2012")
    citation = (
        "Everingham, Eslami, Van Gool, Williams, Winn, Zisserman, "
        '"The Pascal Visual Object Classes Challenge: A Retrospective", IJCV 111(1), 2015'
    )
    archives = (
        Archive(
            "https://thor.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
            md5="6cd6e144f989b92b3379bac3b3de84fd",
        ),
    )
