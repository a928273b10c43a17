"""Masks from the outlines of a COCO annotation file."""

import json
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segtricks.data.images import UnreadableImage
from segtricks.data.pairing import by_ending
from segtricks.errors import UserError

_FARTHEST = 100_000  # pixels; the drawing takes memory by the length of an outline


@dataclass
class _Outlines:
    """What is drawn for one image: ``size`` is height and width, keys are the annotations' ids."""

    size: tuple[int, int]
    objects: list[tuple[Any, Any]] = field(default_factory=list)


class CocoMasks:
    """The masks that a COCO JSON file describes: of each image, all its objects together, crowds left out.

    Args:
        path: File of COCO's instance format, with ``images`` and ``annotations``; an annotation's ``segmentation`` is
            a list of polygons (x, y, x, y, … in pixels), or a run-length code, compressed or not.

    Raises:
        UserError: The file is missing, is of another format, or holds objects without any outline; or the package
            ``pycocotools`` is missing.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        _drawing()
        try:
            content: dict[str, Any] = json.loads(self.path.read_text(encoding="utf-8"))
            images = {image["id"]: _Outlines((image["height"], image["width"])) for image in content["images"]}
            objects = [item for item in content["annotations"] if not item.get("iscrowd", 0)]
            for item in objects:
                images[item["image_id"]].objects.append((item["id"], _compact(item.get("segmentation"))))
            names = [(PurePosixPath(image["file_name"]), images[image["id"]]) for image in content["images"]]
        except FileNotFoundError as error:
            raise UserError(f"No file {self.path}: pass a COCO JSON file or a folder of masks.") from error
        except (KeyError, TypeError, ValueError, OSError) as error:
            raise UserError(f"{self.path} is no COCO annotation file: {type(error).__name__} {error}.") from error
        if objects and not any(item.get("segmentation") for item in objects):
            raise UserError(f"{self.path} holds boxes but no outlines: masks need 'segmentation'.")
        stems: dict[str, list[_Outlines]] = {}
        for name, outlines in names:
            stems.setdefault(name.stem, []).append(outlines)
        # An image goes by its path, and by its bare name where no other has it.
        self.names = {stem: several[0] for stem, several in stems.items() if len(several) == 1}
        self.names |= {name.with_suffix("").as_posix().lstrip("/"): outlines for name, outlines in names}

    def read(self, image: Path) -> Tensor:
        """Mask of a photograph, uint8 (1, H, W) of 0 and 255, at the size that the file states.

        The photograph is not opened; it is found by the end of its path, or by its name.

        Raises:
            UnreadableImage: The file does not know the photograph, or an outline of it is damaged.
        """
        outlines = self.names.get(by_ending([image], self.names)[image])
        if outlines is None:
            raise UnreadableImage(image, f"is not in {self.path}")
        drawing, (height, width) = _drawing(), outlines.size
        mask = np.zeros((height, width), np.uint8)
        for key, outline in outlines.objects:
            try:
                mask |= _draw(drawing, outline, height, width)
            except (ValueError, TypeError, KeyError, OverflowError) as error:
                raise UnreadableImage(image, f"its annotation {key} in {self.path} is damaged: {error}") from error
        return torch.from_numpy(mask * 255).unsqueeze(0)


def _drawing() -> Any:
    try:
        from pycocotools import mask
    except ImportError as error:
        raise UserError("COCO outlines are drawn by the package pycocotools.\nNext: pip install pycocotools") from error
    return mask


def _compact(outline: Any) -> Any:
    """Polygons as arrays: a fifth of the memory."""
    if isinstance(outline, list):
        return [np.asarray(polygon, dtype=np.float64) for polygon in outline]
    return outline


def _draw(drawing: Any, outline: Any, height: int, width: int) -> NDArray[np.uint8]:
    if isinstance(outline, dict):
        if list(outline["size"]) != [height, width]:
            raise ValueError(f"its size {outline['size']} is not the image's, {[height, width]}")
        return _fill(outline["counts"], height, width)
    if not outline:
        raise ValueError("it has no outline")
    for polygon in outline:
        if polygon.ndim != 1 or polygon.size < 6 or polygon.size % 2:
            raise ValueError("a polygon needs an even number of coordinates, three points or more")
        if not (np.abs(polygon) <= _FARTHEST).all():
            raise ValueError("a polygon leaves its image by far")
    joined = drawing.merge(drawing.frPyObjects(outline, height, width))
    return _fill(joined["counts"].decode(), height, width)


def _fill(counts: str | list[int], height: int, width: int) -> NDArray[np.uint8]:
    # Not pycocotools' decoder: it leaves memory unset where the runs end early, and numpy is about to refuse it.
    runs = np.array(expand_runs(counts) if isinstance(counts, str) else counts)
    if runs.dtype.kind != "i" or runs.min() < 0 or runs.sum() != height * width:
        raise ValueError(f"its runs do not add up to {height} x {width} pixels")
    columns = np.repeat((np.arange(len(runs)) % 2).astype(np.uint8), runs)
    return columns.reshape(width, height).T


def expand_runs(text: str) -> list[int]:
    """Return the runs of COCO's compressed code, the first one outside.

    5 bits a character and a sixth for more, each less the run before the last.
    """
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


def draw_outline(outline: Any, height: int, width: int) -> NDArray[np.uint8]:
    """Return a COCO ``segmentation`` as a mask (H, W) of 0 and 1: a dict with a run-length code, or polygons.

    Raises:
        ValueError: It is damaged, or of another size; also a ``TypeError``, ``KeyError`` or ``OverflowError``.
    """
    return _draw(_drawing(), _compact(outline), height, width)
