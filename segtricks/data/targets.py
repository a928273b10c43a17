"""Targets to train on: photographs of any data set with the masks of a folder or a COCO file."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from torch import Tensor

from segtricks.data.coco import CocoMasks
from segtricks.data.images import find_images
from segtricks.data.pairing import LeftOut, by_ending, doubles, one_per_stem, pair
from segtricks.data.sample import Instances, SegmentationDataset, TargetKind
from segtricks.errors import UserError


class MaskFiles:
    """Masks by name: the files of a folder, or the images of a COCO JSON file.

    Args:
        path: Folder, whose masks go by their path below it without suffix (of several, the ``.png``), or JSON file.

    Raises:
        UserError: There is no such folder or file, or it holds no masks.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        self.coco: CocoMasks | None = None
        self.left_out: list[LeftOut] = []
        if self.path.suffix.lower() == ".json" and not self.path.is_dir():
            self.coco = CocoMasks(self.path)
            self.files = dict.fromkeys(self.coco.names, self.path)
            return
        found = find_images(self.path)
        self.files = one_per_stem(found, lambda path: path.relative_to(self.path).with_suffix("").as_posix(), ".png")
        self.left_out = doubles(found, self.files)

    @property
    def kinds(self) -> tuple[TargetKind, ...]:
        """What the masks can be read as."""
        return ("mask", "labels") if self.coco is None else ("mask", "instances")

    def without(self, images: Sequence[Path]) -> list[Path]:
        """The images that are not among the masks: a folder of masks may lie within that of the photographs."""
        if self.coco is not None:
            return list(images)
        masks = _real(self.path)
        outside = [path for path in images if not _real(path).is_relative_to(masks)]
        return outside or list(images)  # photographs and masks lie in one folder


class FromMaskFiles(SegmentationDataset):
    """Photographs whose targets may be drawn from a COCO file instead of read from images."""

    coco: CocoMasks | None = None

    def read_mask(self, index: int) -> Tensor | None:
        """Mask alone, uint8 (1, H, W), or None where the dataset has no masks."""
        if self.masks is None or self.coco is None:
            return super().read_mask(index)
        return self.coco.read(self.images[index])

    def read_instances(self, index: int) -> Instances | None:
        """Objects alone, of a COCO file."""
        if self.masks is None or self.coco is None:
            return super().read_instances(index)
        return self.coco.read_instances(self.images[index])


class WithTargets(FromMaskFiles):
    """Photographs of a data set whose own masks, if it has any, are replaced by others.

    A mask belongs to the photograph whose path ends in its name, the longest first: ``cats/1.png``, else ``1.png``.
    Photographs without a mask are left out with a warning.

    Args:
        photographs: Any data set.
        masks: Folder of masks or COCO JSON file; see :class:`MaskFiles`.

    Raises:
        UserError: The masks cannot be found, or none belongs to a photograph.
    """

    def __init__(self, photographs: SegmentationDataset, masks: str | Path) -> None:
        source = MaskFiles(masks)
        images = source.without(photographs.images)
        names = by_ending(images, source.files)
        known = {name: source.files[name] for name in names.values() if name in source.files}
        if not known:
            raise UserError(
                f"None of the {len(images):,} photographs of {photographs.name} has a mask in {source.path}: they are "
                f"matched by name, for example {images[0].stem} with {next(iter(source.files))}.\n"
                "Next: pass the folder or COCO JSON file with their masks as --data.masks."
            )
        pairs = pair(photographs.name, images, names.__getitem__, known, max_unpaired=1)
        super().__init__(photographs.name, pairs.images, pairs.masks)
        places = {path: index for index, path in enumerate(photographs.images)}
        self._photographs = photographs.select([places[path] for path in pairs.images])
        self.coco = source.coco
        self.target_kinds = source.kinds

    def read_image(self, index: int) -> Tensor:
        """Photograph alone, uint8 (3, H, W)."""
        return self._photographs.read_image(index)

    def select(self, indices: Sequence[int]) -> Self:
        """The same dataset with only these items, in this order."""
        chosen = super().select(indices)
        chosen._photographs = self._photographs.select(indices)
        return chosen


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))  # Path.resolve fails where links go in a circle
