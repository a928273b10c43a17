"""Boxes of written masks, in COCO's form."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from segtricks.data.images import UnreadableImage, read_mask
from segtricks.refine.components import connected_components
from segtricks.reports.mask_writer import MaskWriter


def coco_boxes(writer: MaskWriter, photos: Sequence[Path], chosen: Sequence[Path]) -> dict[str, Any]:
    """Return ``images``, ``annotations`` and ``categories`` of the masks of the ``chosen`` among all ``photos``.

    One box an image, ``bbox`` x, y, width and height in pixels, around the largest 4-connected component of its
    binary mask; none for an empty mask. Image ids are 1 + the place among all photographs, the same in every shard.
    """
    ids = {path: number for number, path in enumerate(photos, start=1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for path in tqdm(chosen, desc="boxes", unit=" images", disable=None, leave=False, delay=2):
        try:
            mask = read_mask(writer.file(path, "binary"))[0] > 127
        except UnreadableImage:
            continue
        name = str(writer.relative(path))
        images.append({"id": ids[path], "file_name": name, "width": mask.shape[1], "height": mask.shape[0]})
        components = connected_components(mask.numpy())
        largest = components.largest()
        if largest is not None:
            left, top, right, bottom = components.boxes[largest].tolist()
            box = [left, top, right - left, bottom - top]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": ids[path],
                    "category_id": 1,
                    "bbox": box,
                    "area": int(components.area[largest]),
                    "iscrowd": 0,
                }
            )
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "object"}]}
