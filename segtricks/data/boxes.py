"""Ground-truth boxes of VOC and COCO files, as half-open pixels."""

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from segtricks.errors import UserError


@dataclass(frozen=True)
class ImageBoxes:
    """Boxes of one image.

    Args:
        size: height and width of the image in pixels.
        boxes: (n, 4) float64, half-open x0, y0, x1, y1 in pixels.
    """

    size: tuple[int, int]
    boxes: Tensor


def read_boxes(path: str | Path, hard: bool = True) -> dict[str, ImageBoxes]:
    """Read the boxes of every image, by the stem of its file name.

    VOC counts pixels from 1 and includes the last: 1 is subtracted from xmin and ymin alone. COCO's crowds are left
    out, and x, y, width, height become corners.

    Args:
        path: a folder of VOC XML files (``Annotations``), or a COCO JSON file.
        hard: keep VOC's difficult and truncated objects.

    Raises:
        UserError: neither of the two, or a file in it that cannot be read as such.
    """
    path = Path(path)
    if path.is_dir():
        files = sorted(path.glob("*.xml"))
        if not files:
            raise UserError(f"No XML files in {path}: pass the Annotations folder of VOC, or a COCO JSON file.")
        return {file.stem: read_voc_boxes(file, hard) for file in files}
    if path.is_file():
        return read_coco_boxes(path)
    raise UserError(f"No boxes at {path}: pass the Annotations folder of VOC, or a COCO JSON file.")


def read_voc_boxes(file: Path, hard: bool = True) -> ImageBoxes:
    """Boxes of one VOC XML file; see :func:`read_boxes`."""
    try:
        root = ElementTree.parse(file).getroot()
        size = int(_text(root, "size/height")), int(_text(root, "size/width"))
        boxes = []
        for item in root.iter("object"):
            if not hard and "1" in (item.findtext("difficult", "0").strip(), item.findtext("truncated", "0").strip()):
                continue
            x0, y0, x1, y1 = (float(_text(item, f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax"))
            boxes.append([x0 - 1, y0 - 1, x1, y1])
    except (ElementTree.ParseError, ValueError, OSError) as error:
        raise UserError(f"{file} is no VOC annotation: {error}.") from error
    return ImageBoxes(size, torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4))


def _text(element: ElementTree.Element, name: str) -> str:
    text = element.findtext(name)
    if text is None:
        raise ValueError(f"no <{name.replace('/', '><')}>")
    return text


def read_coco_boxes(path: Path, stems: Container[str] | None = None) -> dict[str, ImageBoxes]:
    """Boxes of a COCO JSON file, of all images or of those with these stems; see :func:`read_boxes`."""
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        images = {
            image["id"]: image for image in content["images"] if stems is None or Path(image["file_name"]).stem in stems
        }
        boxes: dict[Any, list[list[float]]] = {key: [] for key in images}
        for item in content["annotations"]:
            if (stems is None or item["image_id"] in images) and not item.get("iscrowd", 0):
                x, y, width, height = item["bbox"]
                boxes[item["image_id"]].append([x, y, x + width, y + height])
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise UserError(f"{path} is no COCO annotation file: {type(error).__name__} {error}.") from error
    return {
        Path(image["file_name"]).stem: ImageBoxes(
            (image["height"], image["width"]), torch.tensor(boxes[key], dtype=torch.float64).reshape(-1, 4)
        )
        for key, image in images.items()
    }
