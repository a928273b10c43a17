"""Small data sets in the published layouts of COCO 2017, COCO-Stuff and Cityscapes, from drawn scenes."""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco

from segtricks.data.datasets.scenes import DrawnScenes

THINGS = (1, 3, 18)
"""COCO's categories of the discs, squares and triangles: person, car, dog."""

STUFF = (193, 178, 154)
"""Those of grass, water and sand."""

CATEGORIES = [
    {"id": 1, "name": "person", "supercategory": "person", "isthing": 1},
    {"id": 3, "name": "car", "supercategory": "vehicle", "isthing": 1},
    {"id": 18, "name": "dog", "supercategory": "animal", "isthing": 1},
    {"id": 154, "name": "sand", "supercategory": "ground", "isthing": 0},
    {"id": 178, "name": "water-other", "supercategory": "water", "isthing": 0},
    {"id": 193, "name": "grass-merged", "supercategory": "plant", "isthing": 0},
]


def stems(count: int) -> list[str]:
    """Names as COCO has them, not in the order of the ids."""
    return [f"{7 * number % 100:012}" for number in range(1, count + 1)]


def scenes(count: int = 3, start: int = 0) -> DrawnScenes:
    """What the photographs show."""
    return DrawnScenes(start + count, 64).part(start, None)


def save(path: Path, pixels: NDArray[np.generic]) -> None:
    """Write a picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **({"quality": 95} if path.suffix == ".jpg" else {}))


def photographs(folder: Path, drawn: DrawnScenes, names: list[str]) -> None:
    """Write the scenes."""
    for index, name in enumerate(names):
        save(folder / name, drawn.read_image(index).permute(1, 2, 0).numpy())


def coco17(root: Path, split: str = "val", drawn: DrawnScenes | None = None) -> Path:
    """Write photographs and ``instances_SPLIT2017.json``, in which the first object of the first scene is a crowd."""
    drawn = drawn or scenes()
    names = stems(len(drawn))
    photographs(root / f"coco/{split}2017", drawn, [f"{name}.jpg" for name in names])
    images = [{"id": int(name), "file_name": f"{name}.jpg", "height": 64, "width": 64} for name in names]
    items = []
    for index, name in enumerate(names):
        objects = drawn.read_instances(index)
        for mask, label in zip(objects.masks.numpy(), objects.labels.tolist(), strict=True):
            code = coco.encode(np.asfortranarray(mask, np.uint8))
            item = {"id": len(items) + 1, "image_id": int(name), "category_id": THINGS[label - 1]}
            item |= {"iscrowd": int(not items), "bbox": coco.toBbox(code).tolist(), "area": int(mask.sum())}
            items.append(item | {"segmentation": {"size": [64, 64], "counts": code["counts"].decode()}})
    content = {"images": images, "annotations": items, "categories": CATEGORIES[:3]}
    _write(root / f"coco/annotations/instances_{split}2017.json", content)
    return root


def coco17_panoptic(root: Path, split: str = "val", drawn: DrawnScenes | None = None) -> Path:
    """Write photographs, ``panoptic_SPLIT2017.json`` and its maps; the first object of the first scene is a crowd.

    The left ten columns of each map are of no segment.
    """
    drawn = drawn or scenes()
    names = stems(len(drawn))
    photographs(root / f"coco/{split}2017", drawn, [f"{name}.jpg" for name in names])
    annotations = []
    for index, name in enumerate(names):
        numbers, segments = _segments(drawn, index, crowd=not annotations)
        numbers[:, :10] = 0
        colours = np.stack([numbers % 256, numbers // 256 % 256, numbers // 65536], axis=-1).astype(np.uint8)
        save(root / f"coco/annotations/panoptic_{split}2017/{name}.png", colours)
        annotations.append({"image_id": int(name), "file_name": f"{name}.png", "segments_info": segments})
    images = [{"id": int(name), "file_name": f"{name}.jpg", "height": 64, "width": 64} for name in names]
    content = {"images": images, "annotations": annotations, "categories": CATEGORIES}
    _write(root / f"coco/annotations/panoptic_{split}2017.json", content)
    return root


def coco_stuff27(root: Path, split: str = "val", drawn: DrawnScenes | None = None) -> Path:
    """Write photographs, maps of the 182 ids with a border of 255, and the list, which lacks the last scene."""
    drawn = drawn or scenes()
    names = stems(len(drawn))
    photographs(root / f"coco/{split}2017", drawn, [f"{name}.jpg" for name in names])
    for index, name in enumerate(names):
        ids = _ids(drawn, index, [number - 1 for number in THINGS], [number - 1 for number in (124, 178, 154)])
        ids[:, :4] = 255
        save(root / f"coco/stuffthingmaps/{split}2017/{name}.png", ids.astype(np.uint8))
    list_name = "Coco164kFull_Stuff_Coarse" + ("_7" if split == "val" else "")
    path = root / f"coco/curated/{split}2017/{list_name}.txt"
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(names[:-1]) + "\n")
    return root


def cityscapes(root: Path, split: str = "val", drawn: DrawnScenes | None = None) -> Path:
    """Write photographs of two cities and their two kinds of maps: person, car and bicycle on road, grass and sky.

    The first object of the first scene is a group, and the left four columns of each map are the own car.
    """
    drawn = drawn or scenes()
    for index in range(len(drawn)):
        place = f"{split}/{'bonn' if index % 2 else 'ulm'}"
        name = f"city_{index:06}_000019"
        photographs_at = root / f"cityscapes/leftImg8bit/{place}/{name}_leftImg8bit.png"
        save(photographs_at, drawn.read_image(index).permute(1, 2, 0).numpy())
        ids = _ids(drawn, index, [24, 26, 33], [7, 22, 23])
        objects = ids.copy()
        for number, mask in enumerate(drawn.read_instances(index).masks.numpy()):
            if index or number:
                objects[mask] = objects[mask] * 1000 + number
        ids[:, :4] = objects[:, :4] = 1
        base = root / f"cityscapes/gtFine/{place}/{name}_gtFine"
        save(base.with_name(f"{base.name}_labelIds.png"), ids.astype(np.uint8))
        save(base.with_name(f"{base.name}_instanceIds.png"), objects.astype(np.uint16))
    return root


def _segments(drawn: DrawnScenes, index: int, crowd: bool) -> tuple[NDArray[np.int64], list[dict[str, int]]]:
    """Numbers of two and three bytes; each kind of stuff is two segments, the upper and the lower half."""
    truth = drawn.read_panoptic(index)
    numbers = np.zeros((64, 64), np.int64)
    segments: list[dict[str, int]] = []

    def add(mask: NDArray[np.bool_], category: int, is_crowd: bool = False) -> None:
        if mask.any():
            number = 300 + 70_000 * len(segments)
            numbers[mask] = number
            segments.append({"id": number, "category_id": category, "iscrowd": int(is_crowd)})

    for mask, label in zip(truth.instances.masks.numpy(), truth.instances.labels.tolist(), strict=True):
        add(mask, THINGS[label - 1], crowd and not segments)
    stuff = truth.semantic[0].numpy()
    upper = np.arange(64)[:, None] < 32
    for kind in range(1, 4):
        add((stuff == kind) & upper, STUFF[kind - 1])
        add((stuff == kind) & ~upper, STUFF[kind - 1])
    return numbers, segments


def _ids(drawn: DrawnScenes, index: int, things: list[int], stuff: list[int]) -> NDArray[np.int64]:
    """A map with these ids of the three kinds of shapes and of textures."""
    truth = drawn.read_panoptic(index)
    ids = np.array([0, *stuff])[truth.semantic[0].numpy()]
    for mask, label in zip(truth.instances.masks.numpy(), truth.instances.labels.tolist(), strict=True):
        ids[mask] = things[label - 1]
    return ids


def _write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
