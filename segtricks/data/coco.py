"""COCO's annotation files, and masks from the outlines in them."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco
from torch import Tensor

from segtricks.data.images import UnreadableImage
from segtricks.data.pairing import by_ending
from segtricks.data.problems import Problems
from segtricks.errors import UserError

DAMAGE = (OSError, LookupError, TypeError, ValueError, OverflowError, RecursionError, AttributeError)
"""Errors of files and texts that are not what they should be."""

_FARTHEST = 100_000  # pixels; the drawing takes memory by the length of an outline


class CocoImage(NamedTuple):
    """One image of a file: its path and (height, width) as stated there, and its annotations, crowds apart.

    ``fault`` is why it cannot be used, in a few words.
    """

    name: str
    size: tuple[int, int]
    objects: list[dict[str, Any]]
    crowds: list[dict[str, Any]]
    fault: str = ""


class CocoFile(NamedTuple):
    """The images of a file, and what is wrong with its annotations."""

    images: list[CocoImage]
    problems: Problems


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


def read_coco(path: Path) -> CocoFile:
    """Read a file; a ``UserError`` where it is missing or of another format."""
    with reading_coco(path):
        return coco_images(path, json.loads(path.read_bytes()))  # of bytes, any mark of their order is understood


def coco_images(path: Path, content: dict[str, Any]) -> CocoFile:
    """Images of a file with this content, in its order.

    An image cannot be used where its id is that of another image, it is listed twice, or its size is missing or none.
    Ids are compared as texts. Annotations of an image that is not listed are not used; nor are images without any
    annotation, where these may be theirs, since there are no more ids of images that are not listed.
    """
    problems = Problems(path)
    listed = _listed_images(content["images"], problems)
    names = Counter(image.name for same in listed.values() for image in same)
    images = {key: _checked(same, key, names) for key, same in listed.items()}
    categories = {_key(item.get("id")) for item in content.get("categories") or () if isinstance(item, dict)}
    bare, foreign = set(images), set()
    for number, item in enumerate(content["annotations"]):
        known = item if isinstance(item, dict) else {}
        key, name = _key(known.get("image_id")), known.get("id", f"number {number + 1}")
        bare.discard(key)
        if key not in images:
            foreign.add(key)
            problems.add("annotations of images that it does not list, not used", name)
        elif _is_crowd(item):
            images[key][0].crowds.append(item)
        else:
            images[key][0].objects.append(item)
            if categories and _key(item.get("category_id")) not in categories:
                problems.add("annotations of categories that it does not list, used", name)
    for key in bare if 0 < len(foreign) <= len(bare) else ():
        fault = "it has no annotation, and its file has annotations of images that it does not list"
        images[key] = [image._replace(fault=image.fault or fault) for image in images[key]]
    return CocoFile([image for same in images.values() for image in same], problems)


def by_name(images: Iterable[CocoImage]) -> dict[str, CocoImage]:
    """Images by their path without its suffix; those that differ in nothing else cannot be used."""
    named: dict[str, CocoImage] = {}
    for image in images:
        key = PurePosixPath(image.name).with_suffix("").as_posix()
        twice = "" if key not in named else f"its file lists {named[key].name} and {image.name}, which have one name"
        named[key] = image._replace(fault=image.fault or twice)
    return named


def as_number(value: Any) -> float | None:
    """Return a finite number, also of a text that holds one; None of all else."""
    try:
        number = float(value) if isinstance(value, str) else value
    except ValueError:
        return None
    is_number = isinstance(number, int | float) and not isinstance(number, bool) and math.isfinite(number)
    return number if is_number else None


def size_or_fault(height: Any, width: Any) -> tuple[tuple[int, int], str]:
    """Return the size of a picture, (0, 0) where it is none, and why."""
    sides = [as_number(side) for side in (height, width)]
    if height is None or width is None:
        return (0, 0), "its annotation states no size"
    if any(side is None or side < 1 or side != int(side) for side in sides):
        return (0, 0), f"its annotation states the size {width} x {height} (width x height)"
    size = int(sides[0] or 0), int(sides[1] or 0)
    if Image.MAX_IMAGE_PIXELS is not None and size[0] * size[1] > Image.MAX_IMAGE_PIXELS:
        return (0, 0), f"its annotation states the size {width} x {height}, beyond Pillow's limit"
    return size, ""


def _listed_images(items: Any, problems: Problems) -> dict[str, list[CocoImage]]:
    """Images by their id as a text; entries that say the same are one."""
    found: dict[str, list[CocoImage]] = {}
    for number, item in enumerate(items):
        if not isinstance(item, dict) or not isinstance(item.get("file_name"), str) or item.get("id") is None:
            problems.add("images without a file name or an id, not used", f"number {number + 1}")
            continue
        sides = item.get("height"), item.get("width")
        size, fault = size_or_fault(*sides)
        if not fault and any(isinstance(side, str) for side in sides):
            problems.add("images whose size is a text, read as a number", item["file_name"])
        image = CocoImage(item["file_name"].replace("\\", "/").lstrip("/"), size, [], [], fault)
        same = found.setdefault(_key(item["id"]), [])
        if image in same:
            problems.add("images listed twice, counted once", image.name)
        else:
            same.append(image)
    return found


def _checked(same: Sequence[CocoImage], key: str, names: Mapping[str, int]) -> list[CocoImage]:
    """The images of one id, with the faults of their ids and names."""
    if len(same) > 1:
        fault = f"its annotations have the id {key}, which is that of {' and '.join(image.name for image in same)}"
        return [image._replace(fault=fault) for image in same]
    if names[same[0].name] > 1:
        return [same[0]._replace(fault="its annotations are listed under several ids")]
    return list(same)


def _key(identity: Any) -> str:
    """An id as a text, so that 1, 1.0 and "1" are the same."""
    return str(int(identity) if isinstance(identity, float) and identity.is_integer() else identity)


def _is_crowd(item: dict[str, Any]) -> bool:
    return str(item.get("iscrowd") or 0).lower() not in ("0", "0.0", "false")


class CocoObjects(NamedTuple):
    """Objects and crowds of one image.

    Args:
        masks: bool (n, H, W).
        labels: int64 (n,), the ids of the categories.
        crowd: bool (n,).
        boxes: float32 (n, 4) as stated: x0, y0, x1, y1 in pixels.
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
        images, self.problems = read_coco(self.path)
        objects = [item for image in images for item in image.objects]
        if objects and not any(item.get("segmentation") for item in objects):
            raise UserError(f"{self.path} holds boxes but no outlines: masks need 'segmentation'.")
        for item in (*objects, *(item for image in images for item in image.crowds)):
            item["segmentation"] = _compact_or_damaged(item.get("segmentation"))
        stems: dict[str, list[CocoImage]] = {}
        for image in images:
            stems.setdefault(PurePosixPath(image.name).stem, []).append(image)
        # An image goes by its path, and by its bare name where no other has it.
        self.names = {stem: several[0] for stem, several in stems.items() if len(several) == 1}
        self.names |= by_name(images)
        self.problems.warn()

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
        # They reach the device with the batch, and Metal has no float64.
        return CocoObjects(torch.from_numpy(masks).bool(), labels, crowd, boxes.float())

    def _image(self, image: Path) -> CocoImage:
        found = self.names.get(by_ending([image], self.names)[image])
        if found is None:
            raise UnreadableImage(image, f"is not in {self.path}")
        if found.fault:
            raise UnreadableImage(image, found.fault)
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
        if polygon.min() >= 0 and polygon.max() <= 1 and (polygon % 1).any():
            raise ValueError("a polygon lies in 0..1, and not in pixels")
        x, y = polygon[::2], polygon[1::2]
        if x.max() < -1 or y.max() < -1 or x.min() > width + 1 or y.min() > height + 1:
            raise ValueError("a polygon lies outside of its image")
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


def _compact_or_damaged(outline: Any) -> Any:
    """The same, and what is damaged as it is, for its own image to name."""
    try:
        return _compact(outline)
    except DAMAGE:
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
