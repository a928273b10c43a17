"""Ground-truth boxes of VOC and COCO files, as half-open pixels."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from segtricks.data.coco import read_coco, reading_coco
from segtricks.errors import UserError


@dataclass(frozen=True)
class ImageBoxes:
    """Boxes of one image: its height and width, and (n, 4) float64, half-open x0, y0, x1, y1, in pixels."""

    size: tuple[int, int]
    boxes: Tensor


def read_boxes(path: str | Path, hard: bool = True) -> dict[str, ImageBoxes]:
    """Read the boxes of every image, by the stem of its file name.

    VOC counts pixels from 1 and includes the last: 1 is subtracted from xmin and ymin alone. COCO's crowds are left
    out.

    Args:
        path: a folder of VOC XML files (``Annotations``), or a COCO JSON file.
        hard: keep VOC's difficult and truncated objects.
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
        raise UserError(f"{file} is not a VOC annotation: {error}.") from error
    return ImageBoxes(size, torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4))


def _text(element: ElementTree.Element, name: str) -> str:
    text = element.findtext(name)
    if text is None:
        raise ValueError(f"no <{name.replace('/', '><')}>")
    return text


def read_coco_boxes(path: Path, stems: Container[str] | None = None) -> dict[str, ImageBoxes]:
    """Boxes of a COCO JSON file, of all images or of those with these stems; see :func:`read_boxes`."""
    found = {}
    for image in read_coco(path):
        stem = Path(image.name).stem
        if stems is None or stem in stems:
            with reading_coco(path):
                found[stem] = ImageBoxes(image.size, _corners([item["bbox"] for item in image.objects]))
    return found


def _corners(boxes: list[list[float]]) -> Tensor:
    """x, y, width, height as x0, y0, x1, y1."""
    places = torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4)
    places[:, 2:] += places[:, :2]
    return places
