"""COCO20K: the 19,817 images of COCO train2014 that single-object discovery is scored on."""

import sys
from pathlib import Path

from segtricks.data.boxes import ImageBoxes, read_coco_boxes
from segtricks.data.datasets.published import PublishedDataset
from segtricks.data.download.archive import Archive

_LIST = "coco_20k_filenames.txt"
_BOXES = "annotations/instances_train2014.json"


class COCO20K(PublishedDataset):
    """A list of COCO train2014 images with the boxes of all objects that are not crowds.

    Size: 19,817 images of about 640 x 480 pixels, in an archive of all 82,783, 13.5 GB. Format:
    ``coco/train2014/*.jpg``, ``coco/annotations/instances_train2014.json`` and ``coco/coco_20k_filenames.txt``.
    Source: https://cocodataset.org/ and https://github.com/valeoai/LOST

    Args:
        root: The folder above ``coco``, or that folder.
        require_boxes: False where only photographs are needed: the annotations are not opened.
        strict: An unexpected number of images is an error instead of a warning.

    Raises:
        UserError: A file or folder is missing, or the list and the annotations differ.
    """

    title = "COCO20K"
    expected = 19_817
    folders = ("coco", "COCO", "coco2014", "COCO20K")
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
        self.folder = self._find(root, "train2014").parent
        self.annotations_at = self.folder / "annotations"
        needed = [_LIST, _BOXES] if require_boxes else [_LIST]
        for name in needed:
            if not (self.folder / name).is_file():
                raise self._missing(root, f"no file {self.folder / name}")
        lines = (self.folder / _LIST).read_text(encoding="utf-8-sig").splitlines()
        names = sorted({line.strip() for line in lines if line.strip()})
        self._check_count(len(names), root, strict)
        images = [self.folder / "train2014" / Path(name).name for name in names]
        super().__init__(self.title, images)
        if require_boxes:
            self.annotations = self._read_boxes(root)

    def _read_boxes(self, root: Path) -> list[ImageBoxes]:
        path = self.folder / _BOXES
        if sys.stderr.isatty():
            print(f"reading {path} …", file=sys.stderr)  # a quarter of a gigabyte of JSON
        known = read_coco_boxes(path, {image.stem for image in self.images})
        missing = [image.name for image in self.images if image.stem not in known]
        if missing:
            what = f"{len(missing):,} listed images are not in {path}, first {missing[0]}"
            raise self._missing(root, what)
        known.usable().problems.warn()
        self.box_problems = known.problems
        return [known[image.stem] for image in self.images]
