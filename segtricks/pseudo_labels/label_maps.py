"""A map of clusters for each photograph, written to a store."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from segtricks.data.images import read_labels
from segtricks.data.label_entry import write_entry, write_labels
from segtricks.errors import UserError
from segtricks.pseudo_labels.pictures import painted_labels
from segtricks.pseudo_labels.writer import MaskWriter
from segtricks.runs import replacing


class LabelWriter(MaskWriter):
    """Write ``labels/``, a map of cluster ids from 0 on, and ``overlay/``, the same in colours over the photograph.

    Photographs of a single cluster are listed as ``full`` in ``index.json``.
    """

    kinds = ("labels", "overlay")
    formats = ("masks",)
    one_mask = False

    def write(self, labels: Tensor, photo: Tensor, path: Path) -> None:
        """Write the files of one photograph: ``labels`` (H, W) integers on the CPU, ``photo`` (3, H, W) uint8.

        Raises:
            UserError: they, or those of an earlier photograph, cannot be written.
        """
        array = labels.numpy()
        self.count(path, empty=False, full=bool((array == array.flat[0]).all()))
        self.submit(array, photo, path)

    def one_sided(self, path: Path) -> tuple[bool, bool]:
        """Return whether a photograph is empty, which none is, and whether it is of a single cluster."""
        labels = read_labels(self.file(path, "labels"))
        return False, bool((labels == labels.flatten()[0]).all())

    def write_files(self, prediction: Any, photo: NDArray[np.uint8], path: Path) -> None:
        """Write the pictures of one photograph (H, W, 3), and then its entry, which has no masks."""
        write_labels(self.output, self.name(path), prediction)
        with replacing(self.file(path, "overlay")) as temporary:
            painted_labels(Image.fromarray(photo), prediction).save(temporary, quality=90)
        write_entry(self.output, self.name(path), self.relative(path).as_posix(), prediction.shape, [])

    def index(self, already_there: int) -> dict[str, Any]:
        """Return the content of ``index.json``."""
        return super().index(already_there) | {"masks": 0}

    def coco(self, photos: Sequence[Path], chosen: Sequence[Path]) -> dict[str, Any]:
        """Refuse (``UserError``): clusters are not objects."""
        raise UserError("The maps are written; clusters have no boxes.\nNext: type the same without --boxes.")

    def summary(self, index: dict[str, Any]) -> str:
        """Return the counts of ``index.json`` in words."""
        return f"{len(index['full']):,} photographs of a single cluster"
