"""What the next round of self-training learns: what a network has found, and what it was taught and did not find."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco
from tqdm import tqdm

from segtricks.data.images import UnreadableImage
from segtricks.data.label_entry import Entry, Mask, write_entry, write_labels
from segtricks.data.label_store import FORMAT, Store
from segtricks.data.transforms import VOID
from segtricks.runs import write_json

MAX_IOU = 0.5


def write_next_labels(
    before: Store, found: Store, photographs: Sequence[Path], output: Path, min_score: float
) -> dict[str, Any]:
    """Write a store of the objects found with a ``min_score``, and of those of before that have no IoU of 0.5 with any.

    Objects keep their classes. The map of stuff stays as it was: 0 where an object is now, 255 where one no longer is.
    Photographs that ``before`` lacks, and those whose entry is damaged or of another size, are left out.

    Returns:
        The content of its ``index.json``, which is written last: ``found`` and ``earlier`` count the objects, ``empty``
        names the photographs without any.

    Source: Wang et al., "Cut and Learn for Unsupervised Object Detection and Instance Segmentation", CVPR 2023, section
    3.3; there is no stuff there.
    """
    index: dict[str, Any] = {"format": FORMAT, "images": 0, "masks": 0, "found": 0, "earlier": 0}
    index |= {"empty": [], "min_score": min_score, "source": dict(_source(found.index, before.index))}
    taught, predicted = before.match(photographs), found.match(photographs)
    for path, name in tqdm(taught.items(), desc="next labels", unit=" images", disable=None, leave=False):
        try:
            entry = before.entry(name).usable()
            new = _confident(found.entry(predicted[path]), min_score) if path in predicted else []
            kept = [mask for mask, iou in zip(entry.masks, _best_ious(entry, new), strict=True) if iou < MAX_IOU]
            labels = _stuff(entry, [*new, *kept])
        except (UnreadableImage, ValueError):
            continue
        if labels is not None:
            write_labels(output, name, labels)
        write_entry(output, name, entry.image, (entry.height, entry.width), [*new, *kept])
        index["images"] += 1
        index["masks"] += len(new) + len(kept)
        index["found"] += len(new)
        index["earlier"] += len(kept)
        if not new and not kept:
            index["empty"].append(name)
    write_json(output / "index.json", index)
    return index


def _confident(entry: Entry, min_score: float) -> list[Mask]:
    return [mask for mask in entry.usable().masks if mask.score is not None and mask.score >= min_score]


def _best_ious(entry: Entry, found: Sequence[Mask]) -> NDArray[np.float64]:
    """The highest IoU of each mask of an entry with any that was found in the same photograph; 0 without any."""
    if not entry.masks or not found:
        return np.zeros(len(entry.masks))
    size = [entry.height, entry.width]
    own = [{"size": size, "counts": mask.rle} for mask in entry.masks]
    theirs = [{"size": size, "counts": mask.rle} for mask in found]
    ious: NDArray[np.float64] = coco.iou(own, theirs, [0] * len(found))
    return ious.max(axis=1)


def _stuff(entry: Entry, masks: Sequence[Mask]) -> NDArray[np.int64] | None:
    """The label map of an entry whose objects are now ``masks``; raises an ``UnreadableImage`` for other sizes."""
    labels = entry.read_labels()
    objects = Entry(entry.name, entry.height, entry.width, tuple(masks)).arrays().any(axis=0)
    if labels is None:
        return None
    labels[labels == 0] = VOID
    labels[objects] = 0
    return labels


def _source(found: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    taught = {key: value for key, value in dict(before.get("source", {})).items() if key.startswith("classes of")}
    return dict(found.get("source", {})) | taught
