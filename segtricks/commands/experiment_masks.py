"""``segtricks experiment masks``: score a folder of any method's masks as a run: plain, filtered and solved."""

import os
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from segtricks.commands.options import OptionParser
from segtricks.data.datasets.registry import open_dataset
from segtricks.data.images import find_images
from segtricks.data.pairing import MAX_UNPAIRED, by_ending, few, one_per_stem
from segtricks.data.sample import SegmentationDataset
from segtricks.errors import UserError
from segtricks.metrics import get_protocol
from segtricks.metrics.measures import title
from segtricks.refine import BILATERAL_PRESETS, GuidedFilter
from segtricks.reports.tables import figure, text_table
from segtricks.runs import new_run
from segtricks.scoring.evaluation import Evaluation, write_result
from segtricks.scoring.folders import evaluate_dataset
from segtricks.scoring.mask_pairs import prediction_folder

USAGE = """masks --masks DIR --data SET --name NAME [--protocol fullres]

  --masks DIR         masks with the photographs' names
  --data SET          test set
  --name NAME         folder below runs/
  --protocol NAME     masks are scored as they are, without polarity
  --data.root DIR     folder above the data sets
  --data.masks DIR    targets, where SET is a folder of photographs
  --data.test_limit N the first N images alone
  --data.num_workers N  images scored at once

The guided filter (radius 9) and the bilateral solver (24/4/4) see what is scored: the crop of a protocol that crops,
else the whole photograph."""

_ROWS = {
    "mask": None,
    "mask + guided filter": GuidedFilter(),
    "mask + bilateral solver": BILATERAL_PRESETS["two-tricks"],
}
_COLUMNS = ("acc", "iou", "max_fbeta")


def main(words: Sequence[str]) -> None:
    """Run the command with its option words."""
    options = _parser().parse_args(list(words))
    if options.limit is not None and options.limit < 1:
        raise UserError(f"--data.test_limit is {options.limit}: pass 1 or more, for example --data.test_limit 40.")
    dataset = open_dataset(options.data, options.root, masks=options.targets)
    if dataset.masks is None:
        raise UserError(f"{options.data} has no masks to compare with.\nNext: pass a set of photographs with masks.")
    files = mask_files(options.masks)
    spare = _spare(dataset, files)
    dataset = dataset.select(range(len(dataset))[: options.limit])
    pairs = paired(dataset, files, options.masks)
    protocol = get_protocol(options.protocol, polarity="none")
    if protocol.polarity != "none":
        raise UserError(
            f"--protocol {options.protocol}: masks are scored as they are.\n"
            f"Next: leave polarity={protocol.polarity} out."
        )
    run = new_run(options.name, "masks")
    evaluation = evaluate_dataset(dataset, pairs, protocol, _ROWS, options.workers)
    evaluation.dataset = Path(options.data).name
    _write(run, evaluation, options)
    rows = [
        [row, *(figure(score.metrics[key]) for key in _COLUMNS), str(score.images)]
        for row, score in evaluation.rows.items()
    ]
    print(text_table(["mask", *map(title, _COLUMNS), "images"], rows))
    for path, reason in evaluation.skipped:
        print(f"skipped {path}: {reason}")
    if spare:
        print(f"{len(spare):,} masks in {options.masks} have no photograph in {evaluation.dataset}: {few(spare)}")


def _write(run: Path, evaluation: Evaluation, options: Namespace) -> None:
    """Make the run folder last: a run that fails leaves nothing behind."""
    run.mkdir(parents=True)
    source = {"test": [options.data], "root": options.root, "masks": options.targets}
    protocol = evaluation.protocol
    config = {"masks": str(options.masks), "protocol": protocol.name, "data": {"init_args": source}}
    (run / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding="utf-8")
    refine_at = "full" if protocol.crop is None else "model"
    content = evaluation.as_dict("mask", refine_at, source=source, masks=str(options.masks))
    write_result(run, evaluation, content)


def mask_files(folder: Path) -> dict[str, Path]:
    """Return the masks of a folder, or of its ``soft``, by path below it without suffix.

    Raises:
        UserError: it is missing or empty.
    """
    place = prediction_folder(folder)
    return one_per_stem(find_images(place), lambda path: path.relative_to(place).with_suffix("").as_posix(), ".png")


def paired(dataset: SegmentationDataset, files: Mapping[str, Path], folder: Path) -> list[Path | None]:
    """Return the mask of each photograph: that of its name, as much of the path as the folder of masks has.

    Raises:
        UserError: more than 1 % of the photographs have none; the first are named.
    """
    names = by_ending(dataset.images, files)
    found = [files.get(names[path]) for path in dataset.images]
    missing = [path.name for path, mask in zip(dataset.images, found, strict=True) if mask is None]
    if len(missing) > MAX_UNPAIRED * len(found):
        raise UserError(
            f"{len(missing):,} of the {len(found):,} photographs of {dataset.name} have no mask of their name in "
            f"{folder}: {few(missing)}.\nNext: give each mask the name of its photograph; the suffix may differ."
        )
    return found


def _spare(dataset: SegmentationDataset, files: Mapping[str, Path]) -> list[str]:
    used = set(by_ending(dataset.images, files).values())
    return [path.name for name, path in sorted(files.items()) if name not in used]


def _parser() -> OptionParser:
    parser = OptionParser("experiment", USAGE)
    parser.add_argument("--masks", type=Path, required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--protocol", default="fullres")
    parser.add_argument("--data.root", dest="root", default="data")
    parser.add_argument("--data.masks", dest="targets")
    parser.add_argument("--data.test_limit", dest="limit", type=int)
    parser.add_argument("--data.num_workers", dest="workers", type=_workers, default=min(16, os.cpu_count() or 1))
    return parser


def _workers(text: str) -> int:
    return max(1, int(text))
