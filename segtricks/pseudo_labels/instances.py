"""Several masks of each photograph, written to a store."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from segtricks.data.label_entry import encode_mask, read_entry, write_entry, write_labels
from segtricks.data.sample import Instances
from segtricks.pseudo_labels.export import annotation_of
from segtricks.pseudo_labels.merge import PanopticPrediction, semantic_target
from segtricks.pseudo_labels.pictures import painted
from segtricks.pseudo_labels.writer import Described, MaskWriter
from segtricks.runs import replacing


class InstanceWriter(MaskWriter):
    """Write any number of masks a photograph: ``overlay/``, each mask in a colour, and ``entries/``, with their scores.

    They have no classes yet, so labels are not written.
    """

    kinds: ClassVar[tuple[str, ...]] = ("overlay",)
    one_mask: ClassVar[bool] = False

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
        if self.written_kinds:
            with replacing(self.file(path, "overlay")) as temporary:
                painted(Image.fromarray(photo), masks, range(len(masks))).save(temporary, quality=90)
        encoded = [encode_mask(mask, score) for mask, score in zip(masks, scores, strict=True)]
        size = (photo.shape[0], photo.shape[1])
        write_entry(self.output, self.name(path), self.relative(path).as_posix(), size, encoded)

    def objects(self, path: Path) -> Described:
        """Return the size (H, W) of a photograph that was written, and box, area, code and score of each mask.

        And its class, if it has one.
        """
        entry = read_entry(self.output, self.name(path))
        annotations = []
        for mask, area in zip(entry.masks, entry.areas(), strict=True):
            kind = {} if mask.class_id is None else {"category_id": mask.class_id}
            annotations.append(annotation_of(mask, area, entry) | kind)
        return (entry.height, entry.width), annotations

    def counts(self, boxes: dict[str, Any]) -> dict[str, Any]:
        """Return what ``index.json`` says of all photographs, the number of masks included."""
        return super().counts(boxes) | {"masks": len(boxes["annotations"])}

    def summary(self, index: dict[str, Any]) -> str:
        """Return the counts of ``index.json`` in words."""
        return f"{index['masks']:,} masks, {len(index['empty']):,} photographs without one"


class PanopticWriter(InstanceWriter):
    """Write objects and stuff: ``overlay/``, ``labels/``, ``panoptic/``, and ``entries/`` with scores and classes.

    ``entries/`` hold all detections, the others the panoptic map. ``labels/`` is 0 on things, the class of stuff, or
    255: what :class:`segtricks.methods.U2Seg` learns. In the colours of ``panoptic/``, as in COCO's files, red + 256
    green + 65536 blue is 1000 times the class plus the number of the segment, and 0 is void; the classes of stuff
    follow on those of things.
    """

    kinds: ClassVar[tuple[str, ...]] = ("overlay", "labels", "panoptic")
    classes: ClassVar[bool] = True

    def write(self, prediction: PanopticPrediction, photo: Tensor, path: Path) -> None:  # type: ignore[override]
        """Write the files of one photograph: what was found in it, on the CPU, and ``photo`` (3, H, W) uint8.

        Raises:
            UserError: they, or those of an earlier photograph, cannot be written.
        """
        instances, panoptic, num_things = prediction
        labels = semantic_target(panoptic, num_things=num_things)
        self.count(path, empty=not len(instances.masks), full=bool(instances.masks.flatten(1).all(dim=1).any()))
        arrays = [values.numpy() for values in (*instances[:3], *panoptic, labels)]
        self.submit(arrays, photo, path)

    def write_files(self, prediction: Any, photo: NDArray[np.uint8], path: Path) -> None:
        """Write the pictures of one photograph (H, W, 3), and then its entry."""
        masks, classes, scores, segments, categories, labels = prediction
        if self.written_kinds:
            self._write_pictures(photo, path, (segments, categories, labels))
        encoded = [encode_mask(*each) for each in zip(masks, scores.tolist(), classes.tolist(), strict=True)]
        size = (photo.shape[0], photo.shape[1])
        write_entry(self.output, self.name(path), self.relative(path).as_posix(), size, encoded)

    def _write_pictures(self, photo: NDArray[np.uint8], path: Path, maps: tuple[NDArray[Any], ...]) -> None:
        segments, categories, labels = maps
        shown = segments == np.arange(1, len(categories) + 1)[:, None, None]
        with replacing(self.file(path, "overlay")) as temporary:
            painted(Image.fromarray(photo), shown, categories.tolist()).save(temporary, quality=90)
        write_labels(self.output, self.name(path), labels)
        codes = np.concatenate([[0], 1000 * categories + np.arange(1, len(categories) + 1)])[segments]
        colours = np.stack([codes // 256**place % 256 for place in range(3)], axis=-1)
        with replacing(self.file(path, "panoptic")) as temporary:
            Image.fromarray(colours.astype(np.uint8)).save(temporary)
