"""COCO's annotation files, and masks from the outlines in them."""

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools import mask as coco
from torch import Tensor

from segtricks.data.images import UnreadableImage
from segtricks.data.pairing import by_ending
from segtricks.errors import UserError

DAMAGE = (OSError, LookupError, TypeError, ValueError, OverflowError, RecursionError, AttributeError)
"""Errors of files and texts that are not what they should be."""

_FARTHEST = 100_000  # pixels; the drawing takes memory by the length of an outline


class CocoImage(NamedTuple):
    """One image of a file: its path and (height, width) as stated there, and its annotations, crowds apart."""

    name: str
    size: tuple[Any, Any]
    objects: list[dict[str, Any]]
    crowds: list[dict[str, Any]]


@contextmanager
def reading_coco(path: Path) -> Iterator[None]:
    """Turn what damage raises into a ``UserError`` that names the file."""
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(f"No file {path}: pass a COCO JSON file or a folder of masks.") from error
    except DAMAGE as error:
        raise UserError(
            f"{path} is not a COCO annotation file: {type(error).__name__} {error}.\n"
            "Next: pass such a file, or a folder."
        ) from error


def read_coco(path: Path) -> list[CocoImage]:
    """Images of a file, in its order; a ``UserError`` where it is missing or of another format."""
    with reading_coco(path):
        return coco_images(path, json.loads(path.read_text(encoding="utf-8")))


def coco_images(path: Path, content: dict[str, Any]) -> list[CocoImage]:
    """Images of a file with this content; annotations of images that it does not have are named in a warning."""
    images = {}
    for image in content["images"]:
        images[image["id"]] = CocoImage(str(image["file_name"]).lstrip("/"), (image["height"], image["width"]), [], [])
    strays = 0
    for item in content["annotations"]:
        image = images.get(item["image_id"])
        if image is None:
            strays += 1
        else:
            (image.crowds if item.get("iscrowd", 0) else image.objects).append(item)
    if strays:
        warnings.warn(f"{path}: {strays:,} annotations belong to none of its images and are not used.", stacklevel=4)
    return list(images.values())


class CocoObjects(NamedTuple):
    """Objects and crowds of one image.

    Args:
        masks: bool (n, H, W).
        labels: int64 (n,), the ids of the categories.
        crowd: bool (n,).
        boxes: float64 (n, 4) as stated: x0, y0, x1, y1 in pixels.
    """

    masks: Tensor
    labels: Tensor
    crowd: Tensor
    boxes: Tensor


class CocoMasks:
    """The masks that a COCO JSON file describes: of each image, all its objects together, crowds left out.

    An annotation's ``segmentation`` is a list of polygons (x, y, x, y, … in pixels), or a run-length code, compressed
    or not.

    Raises:
        UserError: The file is missing, is of another format, or holds objects without any outline.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        images = read_coco(self.path)
        objects = [item for image in images for item in image.objects]
        if objects and not any(item.get("segmentation") for item in objects):
            raise UserError(f"{self.path} holds boxes but no outlines: masks need 'segmentation'.")
        with reading_coco(self.path):
            for item in (*objects, *(item for image in images for item in image.crowds)):
                item["segmentation"] = _compact(item.get("segmentation"))
        stems: dict[str, list[CocoImage]] = {}
        for image in images:
            stems.setdefault(PurePosixPath(image.name).stem, []).append(image)
        # An image goes by its path, and by its bare name where no other has it.
        self.names = {stem: several[0] for stem, several in stems.items() if len(several) == 1}
        self.names |= {PurePosixPath(image.name).with_suffix("").as_posix(): image for image in images}

    def read(self, image: Path) -> Tensor:
        """Mask of a photograph, uint8 (1, H, W) of 0 and 255, at the size that the file states.

        The photograph is not opened; it is found by the end of its path, or by its name. An :class:`UnreadableImage`
        where the file does not have it, or an outline of it is damaged.
        """
        found = self._image(image)
        mask = np.zeros(found.size, np.uint8)
        for pixels in self._drawn(image, found, found.objects):
            mask |= pixels
        return torch.from_numpy(mask * 255).unsqueeze(0)

    def read_objects(self, image: Path) -> CocoObjects:
        """Objects of a photograph, and after them its crowds; raises as :meth:`read` does."""
        found = self._image(image)
        items = [*found.objects, *found.crowds]
        masks = np.zeros((len(items), *found.size), np.uint8)
        for mask, pixels in zip(masks, self._drawn(image, found, items), strict=True):
            mask[:] = pixels
        try:
            labels = torch.tensor([int(item["category_id"]) for item in items], dtype=torch.int64)
            boxes = torch.tensor([item["bbox"] for item in items], dtype=torch.float64).reshape(-1, 4)
        except DAMAGE as error:
            raise UnreadableImage(image, f"an annotation in {self.path} is damaged: {error}") from error
        boxes[:, 2:] += boxes[:, :2]
        crowd = torch.arange(len(items)) >= len(found.objects)
        return CocoObjects(torch.from_numpy(masks).bool(), labels, crowd, boxes)

    def _image(self, image: Path) -> CocoImage:
        found = self.names.get(by_ending([image], self.names)[image])
        if found is None:
            raise UnreadableImage(image, f"is not in {self.path}")
        return found

    def _drawn(self, image: Path, found: CocoImage, items: list[dict[str, Any]]) -> Iterator[NDArray[np.uint8]]:
        for item in items:
            try:
                yield draw_outline(item["segmentation"], *found.size)
            except DAMAGE as error:
                key = item.get("id")
                raise UnreadableImage(image, f"its annotation {key} in {self.path} is damaged: {error}") from error


def draw_outline(outline: Any, height: int, width: int) -> NDArray[np.uint8]:
    """Return a COCO ``segmentation``, a dict with a run-length code, or polygons, as a mask (H, W) of 0 and 1.

    An error of ``DAMAGE`` where it is damaged, or of another size.
    """
    if isinstance(outline, dict):
        if list(outline["size"]) != [height, width]:
            raise ValueError(f"its size {outline['size']} is not the image's, {[height, width]}")
        return fill_runs(outline["counts"], height, width)
    if not outline:
        raise ValueError("it has no outline")
    polygons = _compact(outline)
    for polygon in polygons:
        if polygon.ndim != 1 or polygon.size < 6 or polygon.size % 2:
            raise ValueError("a polygon needs an even number of coordinates, three points or more")
        if not (np.abs(polygon) <= _FARTHEST).all():
            raise ValueError("a polygon leaves its image by far")
    joined = coco.merge(coco.frPyObjects(polygons, height, width))
    return fill_runs(joined["counts"].decode(), height, width)


def fill_runs(counts: str | list[int], height: int, width: int) -> NDArray[np.uint8]:
    """Return COCO's run-length code, compressed or not, as a mask (H, W) of 0 and 1; see :func:`read_runs`."""
    # Not pycocotools' decoder: it leaves memory unset where the runs end early.
    runs = read_runs(counts, height, width)
    columns = np.repeat((np.arange(len(runs)) % 2).astype(np.uint8), runs)
    return columns.reshape(width, height).T


def read_runs(counts: str | list[int], height: int, width: int) -> NDArray[np.int64]:
    """Return the lengths of the runs down the columns, the first one outside; an error of ``DAMAGE`` for wrong ones."""
    runs = np.array(_expand(counts) if isinstance(counts, str) else counts)
    if runs.dtype.kind != "i" or runs.min() < 0 or runs.sum() != height * width:
        raise ValueError(f"its runs do not add up to {height} x {width} pixels")
    return runs


def _compact(outline: Any) -> Any:
    """Polygons as arrays: a fifth of the memory."""
    if isinstance(outline, list):
        return [np.asarray(polygon, dtype=np.float64) for polygon in outline]
    return outline


def _expand(text: str) -> list[int]:
    """Runs of the compressed code: 5 bits a character and a sixth for more, each less the run before the last."""
    runs: list[int] = []
    value = shift = 0
    for character in text.encode("ascii"):
        bits = character - 48
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    return runs
