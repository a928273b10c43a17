"""Datasets by name. A new one is a file of its own and one line in ``PUBLISHED``."""

import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from segtricks.data.boxes import read_boxes
from segtricks.data.datasets.cityscapes import Cityscapes, CityscapesTrain, CityscapesVal
from segtricks.data.datasets.coco17 import COCO17, COCO17Train, COCO17Val
from segtricks.data.datasets.coco17_panoptic import COCO17Panoptic, COCO17PanopticTrain, COCO17PanopticVal
from segtricks.data.datasets.coco20k import COCO20K
from segtricks.data.datasets.coco_stuff import COCOStuff27, COCOStuff27Train, COCOStuff27Val
from segtricks.data.datasets.dut_omron import DUTOMRON
from segtricks.data.datasets.duts import DUTSTest, DUTSTrain
from segtricks.data.datasets.ecssd import ECSSD
from segtricks.data.datasets.examples import ExamplePhotographs
from segtricks.data.datasets.folder import ImageFolder
from segtricks.data.datasets.published import PairedDataset
from segtricks.data.datasets.scenes import DrawnScenes
from segtricks.data.datasets.shards import TarShards
from segtricks.data.datasets.synthetic import SyntheticShapes
from segtricks.data.datasets.voc import VOC, VOC07, VOC12
from segtricks.data.datasets.voc_labels import VOC12Labels, VOC12Train, VOC12TrainAug, VOC12Val
from segtricks.data.label_store import is_store
from segtricks.data.pairing import by_ending, check_matched
from segtricks.data.sample import SegmentationDataset
from segtricks.data.targets import WithTargets
from segtricks.errors import UserError
from segtricks.words import Orientation

_Published = PairedDataset | VOC | VOC12Labels | COCO20K | COCO17 | COCO17Panoptic | COCOStuff27 | Cityscapes

PUBLISHED: dict[str, type[_Published]] = {
    "duts-tr": DUTSTrain,
    "duts-te": DUTSTest,
    "dut-omron": DUTOMRON,
    "ecssd": ECSSD,
    "voc07": VOC07,
    "voc12": VOC12,
    "voc12-train": VOC12Train,
    "voc12-trainaug": VOC12TrainAug,
    "voc12-val": VOC12Val,
    "coco20k": COCO20K,
    "coco17-train": COCO17Train,
    "coco17-val": COCO17Val,
    "coco17-panoptic-train": COCO17PanopticTrain,
    "coco17-panoptic-val": COCO17PanopticVal,
    "coco-stuff27-train": COCOStuff27Train,
    "coco-stuff27-val": COCOStuff27Val,
    "cityscapes-train": CityscapesTrain,
    "cityscapes-val": CityscapesVal,
}
"""Datasets that can be fetched, by name."""

DRAWN = ("examples", "synthetic", "scenes")
"""Datasets whose masks are drawn when they are read."""

DATASET_NAMES = (*PUBLISHED, *DRAWN)

Dataset = TypeVar("Dataset", bound=SegmentationDataset)

_SLICE = re.compile(r"(?P<name>.+)\[(?P<range>[^\[\]]*)\]")


def create_dataset(
    name: str, root: str | Path = "data", *, require_masks: bool = True, strict: bool = False, hard: bool = True
) -> SegmentationDataset:
    """The whole dataset with one of the ``DATASET_NAMES``; options and errors as for :func:`open_dataset`."""
    if name == "synthetic":
        return SyntheticShapes()
    if name == "scenes":
        return DrawnScenes()
    if name == "examples":
        return ExamplePhotographs(require_masks, strict)
    if name not in PUBLISHED:
        raise UserError(f"Unknown dataset '{name}': {_hint(name)}Allowed: {', '.join(DATASET_NAMES)}.")
    kind = PUBLISHED[name]
    if issubclass(kind, VOC):
        return kind(root, require_masks, strict, hard)
    return kind(root, require_masks, strict)


def open_dataset(
    spec: str | Path,
    root: str | Path = "data",
    *,
    masks: str | Path | None = None,
    boxes: str | Path | None = None,
    require_masks: bool = True,
    strict: bool = False,
    hard: bool = True,
    foreground: Sequence[int] = (),
    ignore: Sequence[int] = (),
    orientation: Orientation = "exif",
) -> SegmentationDataset:
    """The dataset that an option names: ``ecssd``, ``photos/``, ``list.txt``, or a part of one, ``ecssd[:320]``.

    Args:
        spec: A registered name, the path of a folder or of a text list of photographs, or a pattern of tar files
            (``shards/*.tar``), then perhaps ``[start:stop]`` over the sorted files (a list: in its order), counted as
            in Python. ``./ecssd`` is a folder even if a dataset has that name.
        root: Folder above a registered dataset's folder, or that folder itself.
        masks: Folder of masks, a COCO JSON file or a store of masks, for a path of photographs.
        boxes: Folder of VOC XML files, or a COCO JSON file, for a path of photographs.
        require_masks: False where photographs alone will do: no mask is looked for, no file of boxes opened.
        strict: An unexpected number of images is an error instead of a warning.
        hard: Keep VOC's difficult and truncated objects.
        foreground: Values of its masks that are foreground, where they hold classes.
        ignore: Values of its masks whose pixels are not scored.
        orientation: Whether masks and boxes were drawn on the upright photographs (``exif``) or on their pixels as they
            are stored (``raw``).

    Raises:
        UserError: Neither a name nor a path, a part that is not valid or is empty, or files that do not pair.
    """
    if not str(spec).strip():
        raise UserError(
            f"No dataset given. Allowed: {', '.join(DATASET_NAMES)}, or the path of a folder of photographs."
        )
    name, start, stop = _parse(str(spec))
    dataset: SegmentationDataset
    if name in DATASET_NAMES:
        dataset = create_dataset(name, root, require_masks=require_masks, strict=strict, hard=hard)
    elif name.lower().endswith(".tar"):
        dataset = TarShards(name, masks=require_masks)
    elif is_photographs(Path(name).expanduser()):
        if require_masks and masks is None and boxes is None:
            raise UserError(
                f"{name} has nothing to compare with: pass its folder of masks as --data.masks, "
                "or VOC's Annotations folder or a COCO JSON file as --data.boxes."
            )
        labelled = masks is not None and is_store(masks)
        dataset = ImageFolder(name, None if labelled else masks, strict)
        dataset = WithTargets(dataset, masks) if masks is not None and labelled else dataset
        dataset = dataset if boxes is None else attach_boxes(dataset, boxes, hard)
    else:
        raise UserError(
            f"'{name}' is neither a dataset{_hint(name, ' (', '?)')} nor a folder or list below {Path.cwd()}.\n"
            f"Pass the path of a folder of photographs or one of {', '.join(DATASET_NAMES)}."
        )
    if name not in DRAWN:
        reading = dataset.reading
        reading.foreground, reading.ignore, reading.orientation = tuple(foreground), tuple(ignore), orientation
    return dataset if start is stop is None else dataset.part(start, stop)


def attach_boxes(dataset: Dataset, path: str | Path, hard: bool = True) -> Dataset:
    """The photographs that have boxes in ``path``, by the longest end of their paths, with these boxes.

    See :func:`read_boxes`. Images that have nothing but hard objects are left out where these do not count.

    Raises:
        UserError: The boxes cannot be read, or belong to none of the photographs.
    """
    known = read_boxes(path, hard)
    known.problems.warn()
    keys = by_ending(dataset.images, known)
    matched = {image for image, key in keys.items() if key in known}
    check_matched(dataset.name, dataset.images, matched, f"boxes in {path}")
    if not hard:
        matched = {image for image in matched if len(known[keys[image]].boxes) or known[keys[image]].fault}
    chosen = dataset.select([i for i, image in enumerate(dataset.images) if image in matched])
    chosen.annotations = [known[keys[image]] for image in chosen.images]
    chosen.box_problems = known.problems
    return chosen


def is_photographs(path: Path) -> bool:
    """Whether a path can be opened as photographs: a folder, or a ``.txt`` list of files."""
    return path.is_dir() or (path.is_file() and path.suffix.lower() == ".txt")


def _hint(name: str, before: str = "", after: str = "? ") -> str:
    near = difflib.get_close_matches(name.lower().replace("_", "-"), DATASET_NAMES)
    return f"{before}did you mean {' or '.join(near)}{after}" if near else ""


def _parse(spec: str) -> tuple[str, int | None, int | None]:
    match = _SLICE.fullmatch(spec)
    # A folder may really be called so.
    if match is None or Path(spec).expanduser().is_dir():
        return spec, None, None
    bounds = re.fullmatch(r"\s*(-?\d+)?\s*:\s*(-?\d+)?\s*", match["range"])
    if bounds is None:
        raise UserError(
            f"'[{match['range']}]' in '{spec}' is not a part: write NAME[start:stop], for example ecssd[:320]."
        )
    start, stop = (None if bound is None else int(bound) for bound in bounds.groups())
    return match["name"], start, stop
