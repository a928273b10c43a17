"""COCO20K: the 19,817 images of COCO train2014 that single-object discovery is scored on."""

import sys
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from segtricks.data.boxes import read_coco_boxes
from segtricks.data.datasets.published import check_count, how_to_get
from segtricks.data.download.archive import Archive
from segtricks.data.sample import SegmentationDataset
from segtricks.errors import UserError

_LIST = "coco_20k_filenames.txt"
_BOXES = "annotations/instances_train2014.json"


class COCO20K(SegmentationDataset):
    """A list of COCO train2014 images with the boxes of all objects that are no crowds.

    Size: 19,817 images of about 640 x 480 pixels, in an archive of all 82,783, 13.5 GB. Format:
    ``coco/train2014/*.jpg``, ``coco/annotations/instances_train2014.json`` and ``coco/coco_20k_filenames.txt``.
    Source: https://cocodataset.org/ and https://github.com/valeoai/LOST
    Citation and license: the attributes ``citation`` and ``license_note``.

    Args:
        root: The folder above ``coco``, or that folder.
        require_boxes: False where only photographs are needed: the annotations are not opened.
        strict: An unexpected number of images is an error instead of a warning.

    Raises:
        UserError: A file or folder is missing (where it was looked for, how to get it), or the list and the
            annotations differ.
    """

    title = "COCO20K"
    expected = 19_817
    folders: ClassVar[tuple[str, ...]] = ("coco", "COCO", "coco2014", "COCO20K")
    license_note = "annotations CC BY 4.0; images under Flickr's terms"
    citation = (
        'Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014; '
        "list of Vo, Pérez, Ponce, "
        '"Toward Unsupervised, Multi-object Discovery in Large-scale Image Collections", ECCV 2020'
    )
    archives = (
        Archive(
            "http://images.cocodataset.org/zips/train2014.zip", folder="coco", md5="0da8c0bd3d6becc4dcb32757491aca88"
        ),
        Archive(
            "http://images.cocodataset.org/annotations/annotations_trainval2014.zip",
            folder="coco",
            md5="0a379cfc70b0e71301e0f377548639bd",
        ),
        Archive(
            f"https://raw.githubusercontent.com/valeoai/LOST/master/datasets/{_LIST}",
            folder="coco",
            sha256="74637e9b4f93f2ebef9b1f664aff53edd1f41ef08dad97bd22ce8e455052b335",
        ),
    )

    def __init__(self, root: str | Path = "data", require_boxes: bool = True, strict: bool = False) -> None:
        root = Path(root).expanduser()
        self.folder = self._locate(root)
        needed = [_LIST, _BOXES] if require_boxes else [_LIST]
        for name in needed:
            if not (self.folder / name).is_file():
                raise UserError(f"{self.title}: no file {self.folder / name}.\n{how_to_get(self.title, root)}")
        names = sorted({line.strip() for line in (self.folder / _LIST).read_text().splitlines() if line.strip()})
        check_count(self.title, len(names), self.expected, root, strict)
        images = [self.folder / "train2014" / Path(name).name for name in names]
        boxes = None
        if require_boxes:
            if sys.stderr.isatty():
                print(f"reading {self.folder / _BOXES} …", file=sys.stderr)  # a quarter of a gigabyte of JSON
            known = read_coco_boxes(self.folder / _BOXES, {path.stem for path in images})
            missing = [path.name for path in images if path.stem not in known]
            if missing:
                raise UserError(
                    f"{self.title}: {len(missing):,} listed images are not in {self.folder / _BOXES}, "
                    f"first {missing[0]}.\n{how_to_get(self.title, root)}"
                )
            boxes = [known[path.stem] for path in images]
        super().__init__(self.title, images, annotations=boxes)
        self._masks: Any = None

    def object_mask(self, index: int) -> Tensor:
        """Union of all objects but crowds, uint8 (1, H, W) of 0 and 255; the first call reads the annotations."""
        from segtricks.data.coco import CocoMasks

        if self._masks is None:
            self._masks = CocoMasks(self.folder / _BOXES)
        return self._masks.read(self.images[index])

    def _locate(self, root: Path) -> Path:
        places = [*(root / name for name in self.folders), root]
        for place in places:
            if (place / "train2014").is_dir():
                return place
        raise UserError(
            f"{self.title}: no folder 'train2014' in {places[0]} or {root}.\n{how_to_get(self.title, root)}"
        )
