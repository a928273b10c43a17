"""PASCAL VOC 2007 and 2012, trainval: the sets that single-object discovery is scored on."""

from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from segtricks.data.boxes import read_voc_boxes
from segtricks.data.datasets.published import check_count, how_to_get
from segtricks.data.download.archive import Archive
from segtricks.data.images import UnreadableImage
from segtricks.data.sample import SegmentationDataset
from segtricks.errors import UserError


class _VOC(SegmentationDataset):
    """Photographs of one year's trainval list with the boxes of their XML files.

    Args:
        root: The folder above ``VOCdevkit``, that folder, or the year's own folder.
        require_boxes: False where only photographs are needed: no XML is opened.
        strict: An unexpected number of images is an error instead of a warning.
        hard: Keep difficult and truncated objects; without them, images that have no others are left out.

    Raises:
        UserError: A folder, list or file is missing (where it was looked for, how to get it).
    """

    title: ClassVar[str]
    year: ClassVar[str]
    expected: ClassVar[int]
    folders: ClassVar[tuple[str, ...]]
    archives: ClassVar[tuple[Archive, ...]]
    license_note = "for research; images under Flickr's terms"
    citation: ClassVar[str]

    def __init__(
        self, root: str | Path = "data", require_boxes: bool = True, strict: bool = False, hard: bool = True
    ) -> None:
        root = Path(root).expanduser()
        self.folder = self._locate(root)
        stems = self._stems(root)
        check_count(self.title, len(stems), self.expected, root, strict)
        boxes = None
        if require_boxes:
            boxes = [read_voc_boxes(self.folder / "Annotations" / f"{stem}.xml", hard) for stem in stems]
            if not hard:
                kept = [i for i, entry in enumerate(boxes) if len(entry.boxes)]
                stems, boxes = [stems[i] for i in kept], [boxes[i] for i in kept]
        images = [self.folder / "JPEGImages" / f"{stem}.jpg" for stem in stems]
        super().__init__(self.title, images, annotations=boxes)

    def object_mask(self, index: int) -> Tensor | None:
        """Union of all objects, uint8 (1, H, W) of 0 and 255, or None for the many images that were not segmented.

        The undecided borders of ``SegmentationClass`` (value 255) are background.
        """
        path = self.folder / "SegmentationClass" / f"{self.images[index].stem}.png"
        if not path.is_file():
            return None
        try:
            with Image.open(path, formats=["PNG"]) as image:
                classes = np.asarray(image if image.mode in ("P", "L") else image.convert("L"))
        except Exception as error:  # decoders answer damage with many kinds of errors
            raise UnreadableImage(path, f"damaged: {error}") from error
        objects = (classes > 0) & (classes < 255)
        return torch.from_numpy(objects.astype(np.uint8) * 255).unsqueeze(0)

    def _locate(self, root: Path) -> Path:
        own = f"VOC{self.year}"
        places = [root / "VOCdevkit" / own, root / own, root / "VOCdevkit" / "VOCdevkit" / own]
        # Any other year's folder looks the same from within.
        if not root.resolve().name.startswith("VOC20") or root.resolve().name == own:
            places.append(root)
        for place in places:
            if (place / "JPEGImages").is_dir():
                return place
        tried = " or ".join(str(place) for place in places[:2])
        raise UserError(f"{self.title}: no folder 'JPEGImages' in {tried}.\n{how_to_get(self.title, root)}")

    def _stems(self, root: Path) -> list[str]:
        path = self.folder / "ImageSets" / "Main" / "trainval.txt"
        if not path.is_file():
            raise UserError(f"{self.title}: no list {path}.\n{how_to_get(self.title, root)}")
        stems = sorted({line.split()[0] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()})
        if not stems:
            raise UserError(f"{self.title}: the list {path} is empty.\n{how_to_get(self.title, root)}")
        return stems


class VOC07(_VOC):
    """PASCAL VOC 2007 trainval.

    Size: 5,011 images of about 500 x 375 pixels, 460 MB; 422 of them have masks. Format:
    ``VOCdevkit/VOC2007/{JPEGImages,Annotations,ImageSets,SegmentationClass}``, boxes as XML, counted from 1.
    Source: http://host.robots.ox.ac.uk/pascal/VOC/voc2007/
    Citation and license: the attributes ``citation`` and ``license_note``.
    """

    title = "VOC07"
    year = "2007"
    expected = 5_011
    folders = ("VOCdevkit/VOC2007", "VOC2007")
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


class VOC12(_VOC):
    """PASCAL VOC 2012 trainval.

    Size: 11,540 images of about 500 x 375 pixels, 2.0 GB; 2,913 of them have masks. Format:
    ``VOCdevkit/VOC2012/{JPEGImages,Annotations,ImageSets,SegmentationClass}``, boxes as XML, counted from 1.
    Source: http://host.robots.ox.ac.uk/pascal/VOC/voc2012/
    Citation and license: the attributes ``citation`` and ``license_note``.
    """

    title = "VOC12"
    year = "2012"
    expected = 11_540
    folders = ("VOCdevkit/VOC2012", "VOC2012")
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
