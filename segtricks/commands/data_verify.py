"""``segtricks data verify``: open every file of a dataset and print its faults."""

import warnings
from argparse import Namespace
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from segtricks.data.datasets.folder import fits_list, write_list
from segtricks.data.download.verify import (
    FAULTS,
    NOTES,
    Finding,
    check_count,
    check_item,
    check_names,
    check_reading,
    common_folder,
    open_whole,
)
from segtricks.data.pairing import few
from segtricks.data.sample import SegmentationDataset
from segtricks.errors import UserError
from segtricks.parallel import in_threads
from segtricks.reports.tables import text_table
from segtricks.runs import write_json


class FaultsFound(UserError):
    """Files are wrong; the message has their number."""

    status = 1


def main(options: Namespace) -> None:
    """Run the command.

    Raises:
        FaultsFound: files are wrong.
        UserError: the set cannot be opened.
    """
    dataset = _open(options)
    folder = common_folder(dataset)
    found = check_names(dataset) + check_reading(dataset)
    difference = check_count(dataset)
    if difference and options.strict:
        found.append(Finding("count", str(folder), difference))
    good, values = [], Counter[str]()
    checks = in_threads(partial(check_item, dataset), range(len(dataset)), max(1, options.workers), "verify")
    for path, checked in zip(dataset.images, checks, strict=True):
        found += checked.findings
        values.update(filter(None, [checked.values]))
        if fits_list(path) and not _faults(checked.findings):
            good.append(path)
    for kind in ("empty", "full"):
        if 0 < values.total() == values[kind]:
            found.append(Finding(f"all_{kind}", str(folder)))
            print(f"segtricks: warning: {dataset.name}: {NOTES[found[-1].kind]}. Look at some of them.\n")
    _print(found, folder, options.all)
    if options.output:
        write_json(options.output, _content(dataset, found, good, values))
    if options.fix_list:
        _write_good(options.fix_list, good)
    summary = _summary(dataset, good, values, difference)
    if faults := _faults(found):
        files = len({finding.path for finding in faults})
        raise FaultsFound(f"{dataset.name}: faults in {files:,} of its files; {summary}.")
    print(f"{dataset.name}: {summary}.")


def _open(options: Namespace) -> SegmentationDataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the table names the same things
        dataset = open_whole(options.dataset, options.root, options.masks, options.boxes)
    if not dataset.images:
        raise UserError(f"{dataset.name}: no image has a mask of the same name; {_first(dataset)}.")
    reading = dataset.reading
    reading.foreground, reading.ignore = tuple(options.foreground), tuple(options.ignore)
    reading.orientation = options.orientation
    return dataset


def _summary(dataset: SegmentationDataset, good: Sequence[Path], values: Counter[str], difference: str) -> str:
    what = "pairs" if dataset.masks is not None else "images"
    masks = ", ".join(f"{kind} ({count:,})" for kind, count in values.most_common())
    parts = [f"{len(good):,} of {len(dataset):,} {what} are sound", f"masks: {masks}" if masks else "", difference]
    return "; ".join(filter(None, parts))


def _faults(found: Sequence[Finding]) -> list[Finding]:
    return [finding for finding in found if finding.kind in FAULTS]


def _write_good(path: Path, good: Sequence[Path]) -> None:
    if not good:
        print(f"No image is good: {path} was not written")
        return
    write_list(path, good)
    print(f"{len(good):,} good images listed in {path}")


def _print(found: Sequence[Finding], folder: Path, everything: bool) -> None:
    """Faults first, then notes: how many files of each kind, and their names below ``folder``."""
    rows, listing = [], []
    for kind, text in (FAULTS | NOTES).items():
        rank = "fault" if kind in FAULTS else "note"
        same = [_name(finding, folder) for finding in found if finding.kind == kind]
        if same:
            rows.append([rank, text, f"{len(same):,}", "(below)" if everything else few(same)])
            listing += [f"{rank}: {text}: {name}" for name in same]
    if rows:
        print(f"Files below {folder}\n")
        print(text_table(["", "what", "files", "first"], rows) + "\n")
    if everything and listing:
        print("\n".join(listing) + "\n")


def _name(finding: Finding, folder: Path) -> str:
    path = Path(finding.path).absolute()
    name = str(path.relative_to(folder) if path != folder and path.is_relative_to(folder) else path)
    name = name if fits_list(path) else repr(name)  # a line break would tear the table
    return f"{name} ({finding.detail})" if finding.detail else name


def _content(
    dataset: SegmentationDataset, found: Sequence[Finding], good: Sequence[Path], values: Counter[str]
) -> dict[str, Any]:
    return {
        "dataset": dataset.name,
        "folder": str(common_folder(dataset)),
        "images": len(dataset),
        "published": getattr(dataset, "expected", None),
        "good": len(good),
        "masks": dict(values),
        "findings": [{"fault": finding.kind in FAULTS, **finding._asdict()} for finding in found],
    }


def _first(dataset: SegmentationDataset) -> str:
    """An image and a mask that do not pair, to see why."""
    first = dict.fromkeys(("no_mask", "no_image"), "none")
    for path, why in reversed(getattr(dataset, "left_out", [])):
        first[why] = str(path)
    return f"the first image is {first['no_mask']}, the first mask {first['no_image']}"
