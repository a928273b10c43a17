"""Boxes for any folder of photographs."""

import warnings
from pathlib import Path
from typing import TypeVar

from segtricks.data.boxes import read_boxes
from segtricks.data.sample import SaliencyDataset
from segtricks.errors import UserError

Kind = TypeVar("Kind", bound=SaliencyDataset)


def attach_boxes(dataset: Kind, path: str | Path, hard: bool = True) -> Kind:
    """The photographs that a file of boxes knows, by the stem of their names, with these boxes.

    Args:
        dataset: Photographs.
        path: Folder of VOC XML files, or a COCO JSON file.
        hard: Keep difficult and truncated objects; without them, images that have no others are left out.

    Raises:
        UserError: The boxes cannot be read, or belong to none of the photographs.
    """
    known = read_boxes(path, hard)
    kept = [i for i, image in enumerate(dataset.images) if image.stem in known]
    if not kept:
        raise UserError(
            f"None of the {len(dataset):,} images of {dataset.name} has boxes in {path}: they are matched by name, "
            f"for example {dataset.images[0].stem}."
        )
    if len(kept) < len(dataset):
        missing = next(image.name for image in dataset.images if image.stem not in known)
        message = f"{len(dataset) - len(kept):,} of {len(dataset):,} images of {dataset.name} have no boxes in {path}"
        warnings.warn(f"{message} and are left out, the first is {missing}.", stacklevel=2)
    if not hard:
        kept = [i for i in kept if len(known[dataset.images[i].stem].boxes)]
    chosen = dataset.select(kept)
    chosen.annotations = [known[image.stem] for image in chosen.images]
    return chosen
