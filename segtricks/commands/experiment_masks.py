"""``segtricks experiment masks``: score a folder of any method's masks as a run: plain, filtered and solved."""

import os
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor

from segtricks.commands.options import OptionParser
from segtricks.data.datasets.registry import open_dataset
from segtricks.data.images import UnreadableImage, find_images
from segtricks.data.pairing import MAX_UNPAIRED, by_ending, few, one_per_stem
from segtricks.data.sample import SaliencyDataset
from segtricks.data.transforms import CenterCropTransform
from segtricks.errors import UserError
from segtricks.metrics import ImageScores, Protocol, SaliencyScores, get_protocol, image_scores
from segtricks.parallel import in_threads
from segtricks.refine import BILATERAL_PRESETS, GuidedFilter
from segtricks.reports.names import file_name
from segtricks.reports.tables import figure, text_table, write_json
from segtricks.runs import new_run
from segtricks.scoring.mask_pairs import prediction_folder
from segtricks.scoring.mask_reading import fit, read_prediction
from segtricks.scoring.per_image import image_rows, write_csv

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


@dataclass
class _Outcome:
    path: str
    scores: dict[str, ImageScores] | None = None
    reason: str = ""


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
    sums, images, skipped = _score(dataset, pairs, protocol, options.workers)
    # Made last: a run that fails leaves nothing behind.
    run.mkdir(parents=True)
    data = {"test": [options.data], "root": options.root, "masks": options.targets}
    source = {"masks": str(options.masks), "protocol": protocol.name, "data": {"init_args": data}}
    (run / "config.yaml").write_text(yaml.safe_dump(source, sort_keys=False, allow_unicode=True), encoding="utf-8")
    name = Path(options.data).name
    stem = file_name(name) + ("" if protocol.name == "fullres" else f"-{file_name(protocol.name)}")
    content = _result(name, options, protocol, sums, len(images["mask"]), skipped)
    write_csv(
        run / "test" / f"{stem}-per-image.csv",
        [{"mask": row} | line for row, each in images.items() for line in image_rows(each, {})],
    )
    write_json(run / "test" / f"{stem}.json", content)
    rows = [[row, *(figure(m[key]) for key in _COLUMNS), str(content["images"])] for row, m in content["rows"].items()]
    print(text_table(["mask", *_COLUMNS, "images"], rows))
    for path, reason in skipped:
        print(f"skipped {path}: {reason}")
    if spare:
        print(f"{len(spare):,} masks in {options.masks} have no photograph in {name}: {few(spare)}")


def mask_files(folder: Path) -> dict[str, Path]:
    """Return the masks of a folder, or of its ``soft``, by path below it without suffix.

    Raises:
        UserError: it is missing or empty.
    """
    place = prediction_folder(folder)
    return one_per_stem(find_images(place), lambda path: path.relative_to(place).with_suffix("").as_posix(), ".png")


def paired(dataset: SaliencyDataset, files: Mapping[str, Path], folder: Path) -> list[Path | None]:
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


def _spare(dataset: SaliencyDataset, files: Mapping[str, Path]) -> list[str]:
    used = set(by_ending(dataset.images, files).values())
    return [path.name for name, path in sorted(files.items()) if name not in used]


def _score(
    dataset: SaliencyDataset, masks: Sequence[Path | None], protocol: Protocol, workers: int
) -> tuple[dict[str, SaliencyScores], dict[str, dict[str, ImageScores]], list[tuple[str, str]]]:
    sums = {row: SaliencyScores(protocol) for row in _ROWS}
    images: dict[str, dict[str, ImageScores]] = {row: {} for row in _ROWS}
    skipped = []

    def work(index: int) -> _Outcome:
        path, mask = str(dataset.images[index]), masks[index]
        if mask is None:
            return _Outcome(path, reason="no mask of this name")
        try:
            soft, photo, truth = _read(dataset, index, mask, protocol)
            rows = {row: soft if refine is None else refine(soft, photo).clamp(0, 1) for row, refine in _ROWS.items()}
        except UnreadableImage as error:
            return _Outcome(error.path, reason=error.reason)
        except ValueError as error:
            return _Outcome(str(mask), reason=f"cannot be refined: {error}")
        return _Outcome(path, {row: image_scores(pred, truth, protocol) for row, pred in rows.items()})

    for outcome in in_threads(work, range(len(dataset)), workers, dataset.name):
        if outcome.scores is None:
            skipped.append((outcome.path, outcome.reason))
        for row, scores in (outcome.scores or {}).items():
            sums[row].add(scores)
            images[row][outcome.path] = scores.brief()
    if not images["mask"]:
        raise UserError(f"None of {len(skipped):,} masks could be scored; the first, {skipped[0][0]}: {skipped[0][1]}.")
    return sums, images, skipped


def _read(dataset: SaliencyDataset, index: int, mask: Path, protocol: Protocol) -> tuple[Tensor, Tensor, Tensor]:
    """Mask (1, 1, H, W) in [0, 1], photograph (1, 3, H, W) in [0, 1] and target (1, 1, H, W) uint8, as scored."""
    sample = dataset[index]
    photo, truth = sample["image"], sample["mask"]
    assert truth is not None
    soft, _ = read_prediction(mask)
    if protocol.resolution == "crop" and protocol.size:
        crop = CenterCropTransform(protocol.size, protocol.resize)
        photo, truth = crop(photo), crop(truth)
        # A mask of the crop's size is taken for the crop's, as in segtricks evaluate.
        soft = soft if soft.shape == truth.shape else crop(soft)
    probs = fit(soft[None].float() / 255, (truth.shape[-2], truth.shape[-1]), protocol.interpolation)
    return probs, photo[None].float() / 255, truth[None]


def _result(
    name: str,
    options: Namespace,
    protocol: Protocol,
    sums: Mapping[str, SaliencyScores],
    images: int,
    skipped: Sequence[tuple[str, str]],
) -> dict[str, Any]:
    rows = {row: {key: float(value) for key, value in each.compute().items()} for row, each in sums.items()}
    return {
        "dataset": name,
        "protocol": protocol.as_dict() | {"refine_at": "model" if protocol.resolution == "crop" else "full"},
        "source": {"test": [options.data], "root": options.root, "masks": options.targets},
        "masks": str(options.masks),
        "images": images,
        "skipped": [{"path": path, "reason": reason} for path, reason in skipped],
        "metrics": rows["mask"],
        "rows": rows,
        "empty": {row: each.counts()[1] for row, each in sums.items()},
        "size_bins": {row: each.size_bins() for row, each in sums.items()},
    }


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
