"""Masks of a store in the formats of other tools: COCO, YOLO, labelme, and cut-outs of the photographs."""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image

from segtricks.data.images import UnreadableImage, read_image, read_mask
from segtricks.data.label_entry import Entry, Mask, encode_mask, read_entry
from segtricks.data.label_store import entry_files
from segtricks.parallel import in_threads
from segtricks.pseudo_labels.export import annotation_of
from segtricks.pseudo_labels.mask_files import PNG_LEVEL
from segtricks.pseudo_labels.outlines import Ring, join_rings, outlines
from segtricks.pseudo_labels.writer import THREADS, Described, MaskWriter
from segtricks.refine.components import connected_components
from segtricks.runs import replacing
from segtricks.words import MIN_AREA

_LABELME_VERSION = "5.5.0"  # whose fields are written; later ones read the same
_QUARTER = 0.25  # pixels: the same pixel for readers that round and for those that cut


@dataclass(frozen=True)
class Object:
    """One object of a photograph: its pixels, bool (H, W), and the mask as an entry holds it."""

    pixels: NDArray[np.bool_]
    mask: Mask

    @cached_property
    def outlines(self) -> list[Ring]:
        """See :func:`segtricks.pseudo_labels.outlines.outlines`."""
        return outlines(self.pixels)


def objects_of(entry: Entry, one_mask: bool, min_area: float = MIN_AREA) -> list[Object]:
    """Return the objects of a photograph, without those that cover less than the share ``min_area`` of it.

    They are its masks; where it has ``one_mask``, the 4-connected components of that.
    """
    least = max(1.0, min_area * entry.height * entry.width)
    masks = list(zip(entry.arrays(), entry.masks, strict=True))
    if not one_mask:
        return [Object(pixels, mask) for pixels, mask in masks if pixels.sum() >= least]
    found = []
    for pixels, _ in masks:
        components = connected_components(pixels)
        for place in np.flatnonzero(components.area >= least):
            part = components.mask(int(place))
            found.append(Object(part, encode_mask(part)))
    return found


class Exporter:
    """Write what a store holds in other formats; the store's own files stay as they are.

    ``yolo/`` is a data set for Ultralytics: ``labels/``, ``images/`` with copies of the photographs, since labels are
    looked for next to them and broken JPEGs are overwritten, and ``data.yaml``. Where photographs lie in a folder
    called ``images``, that is the one with ``labels`` next to it. ``labelme/`` holds a JSON file for
    each photograph, ``cutout/`` the photograph with its soft mask as alpha; where it has several masks, with all of
    them.

    Args:
        writer: that wrote the store.
        formats: some of :data:`segtricks.words.FORMATS`.
        min_area: see :func:`objects_of`.
        white: gray value of white in photographs of 16 bits.
    """

    def __init__(self, writer: MaskWriter, formats: Sequence[str], min_area: float = MIN_AREA, white: int = 65535):
        self.writer, self.formats, self.min_area, self.white = writer, formats, min_area, white

    def write(self, photos: Sequence[Path], chosen: Sequence[Path]) -> dict[str, Any]:
        """Write the files of the ``chosen`` among all ``photos``.

        Those that have no entry are left out. One that cannot be read any more is skipped, as the writer says then.

        Returns:
            All their objects in COCO's form, with run-length codes.

        Raises:
            UserError: they cannot be written.
        """
        described: Iterator[Described | None] = in_threads(self._write_one, chosen, THREADS, "formats")
        return self.writer.coco_of(photos, zip(chosen, described, strict=True))

    def write_names(self) -> list[str]:
        """Write what the formats have once for all photographs of the store, those of other parts included.

        Returns:
            What was written, for the message.
        """
        if "yolo" in self.formats:
            content = {"train": "images", "val": "images", "names": self._yolo_names()}
            with replacing(self.writer.output / "yolo" / "data.yaml") as temporary:
                temporary.write_text(yaml.safe_dump(content, sort_keys=False))
        written = {"coco": "instances.json", "yolo": "yolo/data.yaml", "labelme": "labelme/", "cutout": "cutout/"}
        return [text for name, text in written.items() if name in self.formats]

    def _yolo_names(self) -> dict[int, str]:
        """Names from 0 to the largest class of the store."""
        output, largest = self.writer.output, -1
        for name in entry_files(output / "entries"):
            with suppress(UnreadableImage):
                masks = read_entry(output, name).masks
                largest = max([largest, *(mask.class_id for mask in masks if mask.class_id is not None)])
        names = {number: self.writer.class_name(number) for number in range(largest + 1)}
        return names or {0: self.writer.class_name(None)}

    def _write_one(self, photo: Path) -> Described | None:
        writer = self.writer
        try:
            entry = read_entry(writer.output, writer.name(photo))
            objects = objects_of(entry, writer.one_mask, self.min_area)
        except UnreadableImage:
            return None
        try:
            with writer.explained(photo):
                self._write_files(photo, entry, objects)
        except UnreadableImage as error:
            writer.skip(error.path, error.reason)
            return None
        return (entry.height, entry.width), [_annotation(each, entry) for each in objects]

    def _write_files(self, photo: Path, entry: Entry, objects: list[Object]) -> None:
        files = self.writer.exported(photo)
        if "yolo" in self.formats:
            self._write_yolo(photo, entry, objects, files["yolo"])
        if "labelme" in self.formats:
            self._write_labelme(photo, entry, objects, files["labelme"])
        if "cutout" in self.formats:
            self._write_cutout(photo, entry, files["cutout"])

    def _write_yolo(self, photo: Path, entry: Entry, objects: list[Object], label: Path) -> None:
        _write_text(label, "".join(f"{_yolo_line(each, entry)}\n" for each in objects))
        image = self.writer.yolo_image(photo)
        if image.suffix == photo.suffix.lower():
            _copy(photo, image)
            return
        pixels = read_image(photo, white=self.white)
        with replacing(image) as temporary:
            Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(temporary)

    def _write_labelme(self, photo: Path, entry: Entry, objects: list[Object], path: Path) -> None:
        content: dict[str, Any] = {
            "version": _LABELME_VERSION,
            "flags": {},
            "shapes": [shape for number, each in enumerate(objects, 1) for shape in self._shapes(each, number)],
            "imagePath": _path_from(path.parent, photo),
            "imageData": None,
            "imageHeight": entry.height,
            "imageWidth": entry.width,
        }
        _write_text(path, json.dumps(content, indent=1) + "\n")

    def _shapes(self, found: Object, number: int) -> Iterator[dict[str, Any]]:
        """A polygon for each part of an object; several share a group."""
        polygons = found.outlines
        score = {} if found.mask.score is None else {"score": found.mask.score}
        for polygon in polygons:
            yield {
                "label": self.writer.class_name(found.mask.class_id),
                "points": polygon.astype(float).tolist(),
                "group_id": number if len(polygons) > 1 else None,
                "description": "",
                "shape_type": "polygon",
                "flags": {},
            } | score

    def _write_cutout(self, photo: Path, entry: Entry, path: Path) -> None:
        if entry.soft is not None:
            alpha = read_mask(entry.soft)[0].numpy()
        else:
            alpha = np.where(entry.arrays().any(axis=0), 255, 0).astype(np.uint8)
        colours = read_image(photo, white=self.white).permute(1, 2, 0).numpy()
        with replacing(path) as temporary:
            Image.fromarray(np.dstack([colours, alpha])).save(temporary, compress_level=PNG_LEVEL)


def _annotation(found: Object, entry: Entry) -> dict[str, Any]:
    kind = {} if found.mask.class_id is None else {"category_id": found.mask.class_id}
    return annotation_of(found.mask, int(found.pixels.sum()), entry) | kind


def _yolo_line(found: Object, entry: Entry) -> str:
    """Class and outline, in shares of width and height; parts are joined by lines, as Ultralytics does it."""
    corners = (join_rings(found.outlines) + _QUARTER) / (entry.width, entry.height)
    return " ".join([str(found.mask.class_id or 0), *(f"{value:.6f}" for value in corners.ravel())])


def _path_from(folder: Path, photo: Path) -> str:
    try:
        return Path(os.path.relpath(os.path.realpath(photo), os.path.realpath(folder))).as_posix()
    except ValueError:  # another drive
        return str(photo.absolute())


def _write_text(path: Path, text: str) -> None:
    with replacing(path, durable=False) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _copy(photo: Path, target: Path) -> None:
    """Copy a file, unless that was done before."""
    if target.is_file():
        old, new = target.stat(), photo.stat()
        if (old.st_size, old.st_mtime) == (new.st_size, new.st_mtime):
            return
    with replacing(target, durable=False) as temporary:
        shutil.copyfile(photo, temporary)
        shutil.copystat(photo, temporary)
