"""PASCAL VOC 2012 with a class for every pixel: train, val, and train with the labels of SBD (trainaug)."""

from pathlib import Path
from typing import Any, ClassVar

import torch
from scipy.io import loadmat
from scipy.io.matlab import MatReadError
from torch import Tensor

from segtricks.data.coco import DAMAGE
from segtricks.data.datasets.voc import VOC12, VOCFolder
from segtricks.data.download.archive import Archive
from segtricks.data.images import UnreadableImage, read_labels

VOC_CLASSES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
"""Names of the classes 0 to 20."""

_VOID = 255


class VOC12Labels(VOCFolder):
    """Photographs of one of VOC 2012's lists with their label maps: 0 to 20, and 255 on undecided borders.

    As masks, they are the union of all objects; ``with_targets("labels")`` reads the classes.

    Args:
        root: The folder above ``VOCdevkit``, that folder, or the year's own folder.
        require_masks: False where only photographs are needed: no label map is looked for.
        strict: An unexpected number of images is an error instead of a warning.

    Raises:
        UserError: A folder, list or label map is missing.
    """

    year = "2012"
    folders = VOC12.folders
    archives: ClassVar[tuple[Archive, ...]] = VOC12.archives
    citation = VOC12.citation
    list_name: ClassVar[str]
    """Name of the list, without suffix."""
    classes = VOC_CLASSES

    def __init__(self, root: str | Path = "data", require_masks: bool = True, strict: bool = False) -> None:
        root = Path(root).expanduser()
        self.folder = self._find(root, "JPEGImages").parent
        known = self._label_maps(root)
        stems = self._stems(root, known)
        self._check_count(len(stems), root, strict)
        missing = [stem for stem in stems if stem not in known]
        if require_masks and missing:
            raise self._missing(root, f"no label map of {len(missing):,} of its images, such as {missing[0]}")
        images = [self.folder / "JPEGImages" / f"{stem}.jpg" for stem in stems]
        super().__init__(self.title, images, None if missing else [known[stem] for stem in stems])

    def read_labels(self, index: int) -> Tensor | None:
        """Label map alone, int64 (1, H, W)."""
        if self.masks is None:
            return None
        path = self.masks[index]
        labels = _read_mat(path) if path.suffix == ".mat" else read_labels(path)
        wrong = labels[(labels >= len(self.classes)) & (labels != _VOID)]
        if len(wrong):
            raise UnreadableImage(path, f"holds the class {int(wrong[0])}: VOC has 0 to 20, and 255 for undecided")
        return labels

    def read_mask(self, index: int) -> Tensor | None:
        """Union of all objects, uint8 (1, H, W) of 0 and 255; undecided borders are background."""
        labels = self.read_labels(index)
        return None if labels is None else ((labels > 0) & (labels != _VOID)).to(torch.uint8) * 255

    def _label_maps(self, root: Path) -> dict[str, Path]:
        """Label maps by stem."""
        return {path.stem: path for path in (self.folder / "SegmentationClass").glob("*.png")}

    def _stems(self, root: Path, known: dict[str, Path]) -> list[str]:
        return self._listed(self.folder, f"Segmentation/{self.list_name}.txt", root)


class VOC12Val(VOC12Labels):
    """PASCAL VOC 2012 val, on which semantic segmentation is scored.

    Size: 1,449 images of about 500 x 375 pixels, in the archive of 2.0 GB of ``voc12``. Format:
    ``VOCdevkit/VOC2012/{JPEGImages,SegmentationClass,ImageSets/Segmentation/val.txt}``, palette PNGs.
    """

    title = "VOC12-val"
    list_name = "val"
    expected = 1_449


class VOC12Train(VOC12Labels):
    """PASCAL VOC 2012 train; format as :class:`VOC12Val`.

    Size: 1,464 images.
    """

    title = "VOC12-train"
    list_name = "train"
    expected = 1_464


class VOC12TrainAug(VOC12Labels):
    """PASCAL VOC 2012 train with the label maps of SBD, without the images of val: trainaug.

    Size: 10,582 images; the labels of SBD take another 1.4 GB. Format: as :class:`VOC12Val`, and next to VOC's own
    label maps, which come first, ``VOC2012/SegmentationClassAug/*.png`` or ``benchmark_RELEASE/dataset/cls/*.mat`` as
    SBD is published. No list of SBD is needed: trainaug is all that has a label map, without val.
    Source: Hariharan, Arbelaez, Bourdev, Maji, Malik, "Semantic contours from inverse detectors", ICCV 2011.
    """

    title = "VOC12-trainaug"
    list_name = "train"
    expected = 10_582
    archives = (
        *VOC12.archives,
        Archive(
            "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/benchmark.tgz",
            md5="82b4d87ceb2ed10f6038a1cba92111cb",
        ),
    )

    def _label_maps(self, root: Path) -> dict[str, Path]:
        above = [self.folder, self.folder.parent, self.folder.parent.parent, root]
        matrices = [path for base in above for path in (base / "benchmark_RELEASE/dataset/cls").glob("*.mat")]
        pictures = (self.folder / "SegmentationClassAug").glob("*.png")
        return {path.stem: path for path in (*matrices, *pictures)} | super()._label_maps(root)

    def _stems(self, root: Path, known: dict[str, Path]) -> list[str]:
        train = self._listed(self.folder, "Segmentation/train.txt", root)
        val = self._listed(self.folder, "Segmentation/val.txt", root)
        return sorted({*train, *known} - set(val))


def _read_mat(path: Path) -> Tensor:
    """The label map of SBD's ``GTcls.Segmentation``, int64 (1, H, W)."""
    try:
        classes: Any = loadmat(path)["GTcls"]["Segmentation"][0, 0]
        return torch.from_numpy(classes.astype("int64"))[None]
    except (*DAMAGE, MatReadError) as error:
        raise UnreadableImage(path, f"damaged: {type(error).__name__} {error}") from error
