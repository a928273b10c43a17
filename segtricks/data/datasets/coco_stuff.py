"""COCO-Stuff with 27 coarse classes, on which semantic segmentation without labels is scored."""

from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from segtricks.data.datasets.classed import ClassedDataset, mapped_labels
from segtricks.data.datasets.coco17 import IMAGES, COCO17Folder
from segtricks.data.download.archive import Archive
from segtricks.data.sample import TargetKind
from segtricks.data.transforms import VOID

_THINGS = {
    "electronic": range(71, 77),
    "appliance": range(77, 83),
    "food": range(51, 61),
    "furniture": range(61, 71),
    "indoor": range(83, 91),
    "kitchen": range(43, 51),
    "accessory": range(25, 33),
    "animal": range(15, 25),
    "outdoor": range(9, 15),
    "person": range(0, 1),
    "sports": range(33, 43),
    "vehicle": range(1, 9),
}
_STUFF = {
    "ceiling": (101, 102),
    "floor": (100, 113, 114, 115, 116, 117),
    "food stuff": (120, 121, 152, 169),
    "furniture stuff": (97, 106, 107, 109, 111, 122, 129, 132, 155, 160, 164),
    "raw material": (99, 131, 138, 142),
    "textile": (91, 92, 103, 104, 108, 130, 136, 140, 151, 166, 167),
    "wall": range(170, 177),
    "window": (179, 180),
    "building": (94, 95, 127, 150, 157, 165),
    "ground": (110, 124, 125, 135, 139, 143, 144, 146, 148, 153, 158),
    "plant": (93, 96, 118, 123, 128, 133, 141, 162, 168),
    "sky": (105, 156),
    "solid": (126, 134, 149, 159, 161, 181),
    "structural": (98, 112, 137, 145, 163),
    "water": (119, 147, 154, 177, 178),
}
_CURATED = "COCO/CocoStuff164k/curated"
"""Where the archive of the lists unpacks them."""


class COCOStuff27(ClassedDataset, COCO17Folder):
    """Photographs of a list with one of 27 classes for every pixel: 0 to 11 of things, 12 to 26 of stuff, 255 unknown.

    Its maps have 182 ids, which are joined to their super-categories.

    Args:
        root: The folder above ``coco`` or ``cocostuff``, or that folder.
        require_masks: False where only photographs are needed: no label map is looked for.
        strict: An unexpected number of images is an error instead of a warning.

    Raises:
        UserError: A folder, list or label map is missing.

    Source: the classes and lists are those of Ji, Henriques, Vedaldi, "Invariant Information Clustering", ICCV 2019,
    as STEGO takes them.
    """

    folders = (*COCO17Folder.folders, "cocostuff")
    target_kinds: tuple[TargetKind, ...] = ("mask", "labels")
    classes = (*_THINGS, *_STUFF)
    citation = (
        'Caesar, Uijlings, Ferrari, "COCO-Stuff: Thing and Stuff Classes in Context", CVPR 2018; Lin et al., ECCV 2014'
    )
    list_name: ClassVar[str]
    """Name of the list, without suffix."""

    def __init__(self, root: str | Path = "data", require_masks: bool = True, strict: bool = False) -> None:
        root = Path(root).expanduser()
        photographs = {path.stem: path for path in self._photographs(root)}
        stems = self._stems(root)
        self._check_count(len(stems), root, strict)
        absent = [stem for stem in stems if stem not in photographs]
        if absent:
            raise self._missing(root, f"no photograph of {len(absent):,} of its images, such as {absent[0]}")
        images = [photographs[stem] for stem in stems]
        ours, stego = (self.folder / name / f"{self.split}2017" for name in ("stuffthingmaps", "annotations"))
        self.annotations_at = stego if stego.is_dir() else ours
        if not require_masks:
            super().__init__(images, None)
            return
        maps = {path.stem: path for path in self.annotations_at.glob("*.png")}
        absent = [stem for stem in stems if stem not in maps]
        if absent:
            raise self._missing(root, f"no label map of {len(absent):,} of its images, such as {absent[0]}")
        super().__init__(images, [maps[stem] for stem in stems])

    def read_labels(self, index: int) -> Tensor | None:
        """Label map alone, int64 (1, H, W)."""
        return None if self.masks is None else mapped_labels(self.masks[index], _TABLE)

    def read_mask(self, index: int) -> Tensor | None:
        """Union of all things, uint8 (1, H, W) of 0 and 255."""
        labels = self.read_labels(index)
        return None if labels is None else (labels < len(_THINGS)).to(torch.uint8) * 255

    def _stems(self, root: Path) -> list[str]:
        """The sorted names of the list."""
        name = f"{self.split}2017/{self.list_name}.txt"
        places = [self.folder / folder / name for folder in ("curated", _CURATED)]
        for path in places:
            if path.is_file():
                return sorted(set(path.read_text(encoding="utf-8-sig").split()))
        raise self._missing(root, f"no list {places[0]}")


def _table() -> Tensor:
    """The class of each id."""
    table = torch.full((VOID + 1,), -1)
    for number, ids in enumerate((*_THINGS.values(), *_STUFF.values())):
        table[list(ids)] = number
    table[VOID] = VOID
    return table


_TABLE = _table()


def _maps(split: str, count: int) -> Archive:
    return Archive(
        "http://calvin.inf.ed.ac.uk/wp-content/uploads/data/cocostuffdataset/stuffthingmaps_trainval2017.zip",
        folder="coco/stuffthingmaps",
        leaves=((f"{split}2017", count),),
    )


def _lists(path: str) -> Archive:
    return Archive(
        "https://www.robots.ox.ac.uk/~xuji/datasets/COCOStuff164kCurated.tar.gz",
        folder="coco",
        leaves=((f"{_CURATED}/{path}.txt", 1),),
    )


class COCOStuff27Train(COCOStuff27):
    """COCO-Stuff's photographs to train on, a part of COCO 2017 train.

    Size: 97,702 images of about 640 x 480 pixels, in archives of all 118,287, 20 GB. Format:
    ``coco/train2017/*.jpg``, ``coco/stuffthingmaps/train2017/*.png`` with ids 0 to 181 and 255, and the list
    ``coco/curated/train2017/Coco164kFull_Stuff_Coarse.txt``. STEGO's folder ``cocostuff`` with ``images``,
    ``annotations`` and ``curated`` is read as well.
    Source: https://github.com/nightrome/cocostuff and https://github.com/xu-ji/IIC
    """

    title = "COCO-Stuff27-train"
    split = "train"
    list_name = "Coco164kFull_Stuff_Coarse"
    expected = 97_702
    archives = (IMAGES["train"], _maps(split, 118_287), _lists(f"train2017/{list_name}"))


class COCOStuff27Val(COCOStuff27):
    """COCO-Stuff's photographs to score on, a part of COCO 2017 val; format as :class:`COCOStuff27Train`.

    Size: 2,175 images. The list is ``coco/curated/val2017/Coco164kFull_Stuff_Coarse_7.txt``.
    """

    title = "COCO-Stuff27-val"
    split = "val"
    list_name = "Coco164kFull_Stuff_Coarse_7"
    expected = 2_175
    archives = (IMAGES["val"], _maps(split, 5_000), _lists(f"val2017/{list_name}"))
