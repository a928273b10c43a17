"""Pseudo-labels in COCO's instance format."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segtricks.data.label_entry import Entry, Mask
from segtricks.data.label_store import Store
from segtricks.runs import replacing


def to_coco(
    store: Store,
    photographs: Sequence[Path],
    path: Path | None = None,
    root: Path | None = None,
    names: Mapping[int, str] | None = None,
) -> dict[str, Any]:
    """Return the usable masks of the photographs in COCO's instance format, and write them to ``path``.

    Masks without a class are of the category ``object``, id 1, or one above the largest class id. Annotations carry
    ``score`` where there is one. Categories have the ``names`` of their ids, or else these. See :meth:`Store.match` for
    ``root``, and :meth:`Store.check` for what is left out.

    Raises:
        UserError: no photograph has a usable mask.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (photo, name) in enumerate(store.check(photographs, root).usable.items(), start=1):
        entry = store.entry(name).usable()
        file_name = entry.image or photo.name
        images.append({"id": number, "file_name": file_name, "height": entry.height, "width": entry.width})
        for mask, area in zip(entry.masks, entry.areas(), strict=True):
            item = {"id": len(annotations) + 1, "image_id": number, "category_id": mask.class_id, "iscrowd": 0}
            annotations.append(item | annotation_of(mask, area, entry))
    classes = {item["category_id"] for item in annotations} - {None}
    without = max(classes, default=0) + 1
    for item in annotations:
        if item["category_id"] is None:
            item["category_id"] = without
    used = sorted({item["category_id"] for item in annotations})
    known = {without: "object"} | {number: str(number) for number in classes} | dict(names or {})
    categories = [{"id": number, "name": known[number]} for number in used]
    content = {"images": images, "annotations": annotations, "categories": categories}
    if path is not None:
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(content) + "\n", encoding="utf-8")
    return content


def annotation_of(mask: Mask, area: int, entry: Entry) -> dict[str, Any]:
    """Return what an annotation says of a mask of an entry: code, ``bbox`` x, y, width and height, area, and score."""
    left, top, right, bottom = mask.box
    content = {
        "bbox": [left, top, right - left, bottom - top],
        "area": area,
        "segmentation": {"size": [entry.height, entry.width], "counts": mask.rle},
    }
    return content if mask.score is None else content | {"score": mask.score}
