"""``segtricks evaluate``: score folders of masks, from any method, by a named protocol. It needs no model."""

import os
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from segtricks.commands.options import OptionParser
from segtricks.data.boxes import ImageBoxes, read_boxes
from segtricks.errors import UserError
from segtricks.metrics import METRICS, CorLoc, Protocol, get_protocol
from segtricks.metrics.corloc import Select
from segtricks.metrics.polarity import Polarity
from segtricks.reports.tables import figure, short_title, text_table, write_json
from segtricks.scoring.evaluation import Evaluation, evaluate
from segtricks.scoring.mask_pairs import pair_boxes, pair_masks
from segtricks.scoring.mask_reading import NOTES
from segtricks.scoring.per_image import image_rows, write_csv

USAGE = """--predictions MASKS [MASKS …] --targets GT [--protocol fullres]

  --predictions DIR …  folders of masks (or what segtricks predict wrote); several are compared
  --targets DIR        ground truth of the same names; may be left out with --boxes
  --protocol NAME      fullres, two-tricks, tokencut, sod, found-single, found-multi, selfmask or move;
                       any choice of it can be changed: sod:f_average=images,beta2=1
  --output FILE        every figure as JSON
  --per-image FILE     every figure of every image as CSV
  --figures DIR        curves, IoU by object size, best and worst images (with --images DIR: beside the photographs)
  --boxes PATH         CorLoc against VOC's Annotations folder or a COCO JSON file
  --polarity RULE      turn a mask over if its mean (image), or its mean along the border (border), exceeds 0.5
  --select RULE        which component gives the box: largest_bbox, largest_area or seed
  --no-hard            leave VOC's difficult and truncated objects out
  --workers N          images scored at once

Masks are scored as they are: no polarity is applied unless asked for."""

_SHOWN = 5


def main(words: Sequence[str]) -> None:
    """Run the command with its option words."""
    options = _parser().parse_args(list(words))
    # A folder of masks has made up its mind about what is foreground; a model's protocol decides for the model.
    chosen = {"select": options.select} if options.select else {}
    protocol = get_protocol(options.protocol, polarity="none", **chosen)
    if options.polarity:
        protocol = replace(protocol, polarity=options.polarity)
    if options.targets is None and options.boxes is None:
        raise UserError("Nothing to compare with: pass --targets FOLDER, --boxes PATH or both.")
    if options.boxes and protocol.resolution == "crop":
        raise UserError(
            "--boxes refers to whole images: use a protocol without a crop, for example --protocol fullres."
        )
    boxes = read_boxes(options.boxes, hard=not options.no_hard) if options.boxes else {}
    evaluations = {}
    for name, folder in zip(_names(options.predictions), options.predictions, strict=True):
        evaluations[name] = _evaluate(folder, name, options, protocol, boxes)
    results = [
        _result(folder, found, options, protocol)
        for folder, found in zip(options.predictions, evaluations.values(), strict=True)
    ]
    _print(evaluations, results, protocol)
    if options.output:
        write_json(options.output, results[0] if len(results) == 1 else {"results": results})
    if options.per_image:
        several = len(evaluations) > 1
        write_csv(
            options.per_image,
            [
                ({"predictions": name} if several else {}) | row
                for name, found in evaluations.items()
                for row in image_rows(found.images, found.hits)
            ],
        )
    if options.figures and options.targets:
        from segtricks.reports.evaluation_pictures import write_figures

        write_figures(options.figures, evaluations, protocol, options.images)
        print(f"Figures in {options.figures}")


def _parser() -> OptionParser:
    parser = OptionParser("evaluate", USAGE)
    parser.add_argument("--predictions", nargs="+", type=Path, required=True)
    for name in ("targets", "output", "per-image", "figures", "images", "boxes"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--protocol", default="fullres")
    parser.add_argument("--polarity", choices=get_args(Polarity))
    parser.add_argument("--select", choices=get_args(Select))
    parser.add_argument("--no-hard", action="store_true")
    parser.add_argument("--workers", type=int, default=min(16, os.cpu_count() or 1))
    return parser


def _evaluate(
    folder: Path, name: str, options: Namespace, protocol: Protocol, boxes: dict[str, ImageBoxes]
) -> Evaluation:
    dropped = {stem for stem, place in boxes.items() if options.no_hard and not len(place.boxes)}
    kept = {stem: place for stem, place in boxes.items() if stem not in dropped}
    pairs = pair_masks(folder, options.targets) if options.targets else pair_boxes(folder, boxes, options.boxes)
    if not options.targets:
        pairs.skipped += [
            (stem, "all its objects are difficult or truncated") for stem, _, _ in pairs.found if stem in dropped
        ]
        pairs.found = [pair for pair in pairs.found if pair[0] not in dropped]
    return evaluate(pairs, protocol, kept, CorLoc(protocol.select), max(1, options.workers), bar=name)


def _result(folder: Path, found: Evaluation, options: Namespace, protocol: Protocol) -> dict[str, Any]:
    result: dict[str, Any] = {
        "predictions": str(folder),
        "targets": options.targets and str(options.targets),
        "protocol": protocol.as_dict(),
        "images": found.count(),
        "skipped": [{"path": path, "reason": reason} for path, reason in found.skipped],
        "notes": {key: {"files": count, "meaning": NOTES[key]} for key, count in sorted(found.notes.items())},
        "metrics": {},
    }
    if found.images:
        result["metrics"] |= {key: float(value) for key, value in found.scores.compute().items()}
        precision, recall = found.scores.pr_curve()
        curves = {"precision": precision, "recall": recall, "f": found.scores.f_curve()}
        result |= {"empty": found.scores.counts()[1], "size_bins": found.scores.size_bins()}
        result["curves"] = {name: curve.tolist() for name, curve in curves.items()}
    if options.boxes:
        corloc = found.corloc
        result["metrics"]["corloc"] = float(corloc.compute()) if found.hits else float("nan")
        result["corloc"] = {
            "boxes": str(options.boxes),
            "select": corloc.select,
            "no_hard": options.no_hard,
            "images": int(corloc.images),
            "hits": int(corloc.hits),
        }
    return result


def _print(evaluations: dict[str, Evaluation], results: Sequence[dict[str, Any]], protocol: Protocol) -> None:
    keys = [key for key in (*METRICS, "corloc") if any(key in result["metrics"] for result in results)]
    header = [short_title(key) for key in keys]
    rows = [
        [name, *(figure(result["metrics"].get(key, float("nan"))) for key in keys), f"{result['images']:,}"]
        for name, result in zip(evaluations, results, strict=True)
    ]
    print(f"Protocol {protocol.name}\n\n" + text_table(["predictions", *header, "images"], rows) + "\n")
    for name, found in evaluations.items():
        for key, count in sorted(found.notes.items()):
            print(f"{name}: {count:,} {NOTES[key]}.")
        if found.skipped:
            total = found.count() + len(found.skipped)
            print(f"{name}: {found.count():,} of {total:,} scored, {len(found.skipped):,} skipped:")
            for path, reason in found.skipped[:_SHOWN]:
                print(f"  {path}: {reason}")
            if len(found.skipped) > _SHOWN:
                print(f"  … and {len(found.skipped) - _SHOWN:,} more; --output lists them all.")


def _names(folders: Sequence[Path]) -> list[str]:
    """Return the shortest ends of the folders' paths that differ."""
    parts = [folder.resolve().parts for folder in folders]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    raise UserError(f"--predictions names a folder twice: {', '.join(map(str, folders))}.")
