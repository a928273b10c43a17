"""Datasets by name. A new one is a file of its own and one line in ``_DATASETS``."""

import difflib
import re
from collections.abc import Callable
from pathlib import Path

from segtricks.data.dut_omron import DUTOMRON
from segtricks.data.duts import DUTSTest, DUTSTrain
from segtricks.data.ecssd import ECSSD
from segtricks.data.folder import ImageFolder
from segtricks.data.saliency import SaliencyDataset
from segtricks.data.synthetic import SyntheticShapes
from segtricks.errors import UserError

_DATASETS: dict[str, Callable[[Path, bool, bool], SaliencyDataset]] = {  # root, require_masks, strict
    "duts-tr": DUTSTrain,
    "duts-te": DUTSTest,
    "dut-omron": DUTOMRON,
    "ecssd": ECSSD,
    "synthetic": lambda root, require_masks, strict: SyntheticShapes(),
}

DATASET_NAMES = tuple(_DATASETS)

_SLICE = re.compile(r"(?P<name>.+)\[(?P<range>[^\[\]]*)\]")


def create_dataset(
    name: str, root: str | Path = "data", *, require_masks: bool = True, strict: bool = False
) -> SaliencyDataset:
    """The dataset of this name.

    Args:
        name: One of ``DATASET_NAMES``.
        root: Folder above the dataset's folder, or that folder itself; ``synthetic`` needs none.
        require_masks: False where photographs alone will do.
        strict: An unexpected number of images is an error instead of a warning.

    Raises:
        UserError: Unknown name (near and legal ones are listed), missing folder, or files that do not pair.
    """
    if name not in _DATASETS:
        near = difflib.get_close_matches(name.lower().replace("_", "-"), DATASET_NAMES)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise UserError(f"Unknown dataset '{name}': {hint}Legal are {', '.join(DATASET_NAMES)}.")
    return _DATASETS[name](Path(root), require_masks, strict)


def open_dataset(
    spec: str | Path,
    root: str | Path = "data",
    *,
    masks: str | Path | None = None,
    require_masks: bool = True,
    strict: bool = False,
) -> SaliencyDataset:
    """The dataset that an option names: ``ecssd``, ``photos/``, or a part of either, ``ecssd[:320]``.

    Args:
        spec: A registered name or the path of a folder of photographs, then perhaps ``[start:stop]`` over the sorted
            files, counted as in Python. ``./ecssd`` is a folder even if a dataset has that name.
        root: As for :func:`create_dataset`; it does not apply to paths.
        masks: Folder of masks for a folder of photographs.
        require_masks: As for :func:`create_dataset`; for a folder, ``masks`` must be given.
        strict: As for :func:`create_dataset`.

    Raises:
        UserError: Neither a name nor a folder, a part that is none or is empty, or as for :func:`create_dataset`.
    """
    if not str(spec).strip():
        raise UserError(
            f"No data set given. Allowed: {', '.join(DATASET_NAMES)}, or the path of a folder of photographs."
        )
    name, start, stop = _parse(str(spec))
    if name in _DATASETS:
        dataset = create_dataset(name, root, require_masks=require_masks, strict=strict)
    elif Path(name).expanduser().is_dir():
        if require_masks and masks is None:
            raise UserError(f"The folder {name} has no masks to compare with: pass their folder as --data.masks.")
        dataset = ImageFolder(name, masks)
    else:
        near = difflib.get_close_matches(name.lower().replace("_", "-"), DATASET_NAMES)
        hint = f" (did you mean {' or '.join(near)}?)" if near else ""
        raise UserError(
            f"'{name}' is neither a dataset{hint} nor a folder below {Path.cwd()}.\n"
            f"Pass the path of a folder of photographs or one of {', '.join(DATASET_NAMES)}."
        )
    return dataset if start is stop is None else dataset.part(start, stop)


def _parse(spec: str) -> tuple[str, int | None, int | None]:
    match = _SLICE.fullmatch(spec)
    # A folder may really be called so.
    if match is None or Path(spec).expanduser().is_dir():
        return spec, None, None
    bounds = re.fullmatch(r"\s*(-?\d+)?\s*:\s*(-?\d+)?\s*", match["range"])
    if bounds is None:
        raise UserError(
            f"'[{match['range']}]' in '{spec}' is no part: write NAME[start:stop], for example ecssd[:320]."
        )
    start, stop = (None if bound is None else int(bound) for bound in bounds.groups())
    return match["name"], start, stop
