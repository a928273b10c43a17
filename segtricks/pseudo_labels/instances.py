"""Several masks of each photograph, written to a store."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from segtricks.data.label_entry import encode_mask, read_entry, write_entry
from segtricks.data.sample import Instances
from segtricks.pseudo_labels.export import annotation_of
from segtricks.pseudo_labels.pictures import painted
from segtricks.pseudo_labels.writer import MaskWriter
from segtricks.runs import replacing


class InstanceWriter(MaskWriter):
    """Write any number of masks a photograph: ``overlay/``, each mask in a colour, and ``entries/``, with their scores.

    They have no classes yet, so labels are not written.
    """

    kinds = ("overlay",)

    def write(self, instances: Instances, photo: Tensor, path: Path) -> None:  # type: ignore[override]
        """Write the files of one photograph: its instances on the CPU, and ``photo`` (3, H, W) uint8.

        Raises:
            UserError: they, or those of an earlier photograph, cannot be written.
        """
        masks = instances.masks.numpy()
        self.count(path, empty=not len(masks), full=bool(masks.all((1, 2)).any()))
        self.submit((masks, instances.scores.tolist()), photo, path)

    def write_files(self, prediction: Any, photo: NDArray[np.uint8], path: Path) -> None:
        """Write the overlay of one photograph (H, W, 3), and then its entry."""
        masks, scores = prediction
        with replacing(self.file(path, "overlay")) as temporary:
            painted(Image.fromarray(photo), masks, range(len(masks))).save(temporary, quality=90)
        encoded = [encode_mask(mask, score) for mask, score in zip(masks, scores, strict=True)]
        size = (photo.shape[0], photo.shape[1])
        write_entry(self.output, self.name(path), self.relative(path).as_posix(), size, encoded)

    def objects(self, path: Path) -> tuple[tuple[int, ...], list[dict[str, Any]]]:
        """Return the size (H, W) of a photograph that was written, and box, area, code and score of each mask."""
        entry = read_entry(self.output, self.name(path))
        pairs = zip(entry.masks, entry.areas(), strict=True)
        return (entry.height, entry.width), [annotation_of(mask, area, entry) for mask, area in pairs]

    def counts(self, boxes: dict[str, Any]) -> dict[str, Any]:
        """Return what ``index.json`` says of all photographs, the number of masks included."""
        return super().counts(boxes) | {"masks": len(boxes["annotations"])}

    def summary(self, index: dict[str, Any]) -> str:
        """Return the counts of ``index.json`` in words."""
        return f"{index['masks']:,} masks, {len(index['empty']):,} photographs without one"
