"""What ``segtricks evaluate`` does with its options."""

from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from segtricks.data.boxes import Boxes, ImageBoxes, read_boxes
from segtricks.data.mask_pairs import pair_boxes, pair_masks
from segtricks.data.mask_values import WatchedRule, decide
from segtricks.data.orientation import Turns
from segtricks.errors import UserError
from segtricks.metrics import MEASURES, Protocol, get_protocol
from segtricks.metrics.measures import title
from segtricks.reports.tables import figure, text_table
from segtricks.runs import write_csv, write_json
from segtricks.scoring.folders import ROW, FolderEvaluation, evaluate_folder
from segtricks.scoring.mask_reading import NOTES, ONE_SIDED, Rules

_SHOWN = 5
_ALL_HARD = "all its objects are difficult or truncated"


def score_folders(options: Namespace) -> None:
    """Score the folders of parsed options; print a table and write what was asked for."""
    protocol = _protocol(options)
    boxes = read_boxes(options.boxes, hard=not options.no_hard) if options.boxes else None
    if boxes is not None:
        boxes.problems.warn()
    found = {
        name: _evaluate(name, folder, options, protocol, boxes)
        for name, folder in zip(_names(options.predictions), options.predictions, strict=True)
    }
    results = [
        _result(folder, each, options, protocol, boxes)
        for folder, each in zip(options.predictions, found.values(), strict=True)
    ]
    for name, each in found.items():
        for key in ONE_SIDED:
            if key in each.notes:
                print(f"segtricks: warning: {name}: the {NOTES[key]}. The figures say nothing; look at some of them.")
    print(f"Protocol {protocol.name}\n\n{_table(found)}\n")
    for name, each in found.items():
        _print_notes(name, each)
    if options.output:
        write_json(options.output, results[0] if len(results) == 1 else {"results": results})
    if options.per_image:
        write_csv(options.per_image, _lines(found))
    if options.figures and options.targets:
        from segtricks.reports.evaluation_pictures import write_figures

        write_figures(options.figures, found, protocol, options.images)
        print(f"Figures in {options.figures}")


def _protocol(options: Namespace) -> Protocol:
    """Return the protocol of the options.

    Raises:
        UserError: it is unknown, or there is nothing that it could compare with, or --images is missing.
    """
    # A folder of masks has made up its mind about what is foreground; a model's protocol decides for the model.
    chosen = {"select": options.select} if options.select else {}
    protocol = get_protocol(options.protocol, polarity="none", **chosen)
    if options.polarity:
        protocol = replace(protocol, polarity=options.polarity)
    if options.targets is None and options.boxes is None:
        raise UserError("Nothing to compare with: pass --targets FOLDER, --boxes PATH or both.")
    if options.orientation == "raw" and options.images is None:
        raise UserError("--orientation raw turns what was drawn as the photographs say: pass their folder, --images.")
    if options.boxes and protocol.crop is not None:
        raise UserError(
            "--boxes refers to whole images: use a protocol without a crop, for example --protocol fullres."
        )
    return protocol


def _evaluate(name: str, folder: Path, options: Namespace, protocol: Protocol, boxes: Boxes | None) -> FolderEvaluation:
    workers = max(1, options.workers)
    usable, left_out = _usable(boxes, options.no_hard)
    if options.targets:
        pairs = pair_masks(folder, options.targets)
    else:
        pairs = pair_boxes(folder, [*(usable or {}), *left_out], options.boxes)
        pairs.skipped += [(stem, _ALL_HARD) for stem, _, _ in pairs.found if stem in left_out]
        pairs.found = [pair for pair in pairs.found if pair[0] not in left_out]
    masks, turns = bool(options.targets), Turns(options.images, options.orientation)

    def score(rules: Rules) -> FolderEvaluation:
        return evaluate_folder(name, pairs, protocol, usable, masks, workers, rules, turns)

    predictions = [prediction for _, prediction, _ in pairs.found]
    targets = [target for _, _, target in pairs.found if target is not None]
    chosen: dict[str, Any] = {"foreground": options.foreground or (), "ignore": options.ignore or ()}
    # Every file is read once: scored by what a few of them say, and again should the others say something else.
    first = WatchedRule.guess(predictions, "predictions", workers=workers)
    second = WatchedRule.guess(targets, "targets", workers=workers, **chosen)
    found = score(Rules(first, second))
    rules = Rules(
        decide(predictions, "predictions", workers=workers, looks=first.looks),
        decide(targets, "targets", workers=workers, looks=second.looks, **chosen),
    )
    if rules != Rules(first.plain, second.plain):
        return score(rules)
    found.rules = rules
    return found


def _usable(boxes: Boxes | None, no_hard: bool) -> tuple[Mapping[str, ImageBoxes] | None, set[str]]:
    """The boxes of images that have some left without the hard ones, and the names of the other images."""
    if boxes is None or not no_hard:
        return boxes, set()
    left_out = {stem for stem, place in boxes.items() if not len(place.boxes) and not place.fault}
    return {stem: place for stem, place in boxes.items() if stem not in left_out}, left_out


def _result(
    folder: Path, found: FolderEvaluation, options: Namespace, protocol: Protocol, boxes: Boxes | None
) -> dict[str, Any]:
    score = found.evaluation.rows[ROW]
    result: dict[str, Any] = {
        "predictions": str(folder),
        "targets": options.targets and str(options.targets),
        "protocol": protocol.as_dict(),
        "images": found.evaluation.images,
        "skipped": found.evaluation.listed(),
        "reading": {"predictions": asdict(found.rules.predictions), "targets": asdict(found.rules.targets)},
        "notes": {key: {"files": count, "meaning": NOTES[key]} for key, count in sorted(found.notes.items())},
        "metrics": score.metrics,
    }
    if options.targets:
        result |= {"empty": score.empty, "size_bins": score.size_bins, "curves": score.curves}
    if options.orientation != "exif":
        result["reading"]["orientation"] = options.orientation
    if boxes is not None and boxes.problems:
        result["annotations"] = [boxes.problems.as_dict()]
    if options.boxes:
        result["corloc"] = {
            "boxes": str(options.boxes),
            "select": protocol.select,
            "no_hard": options.no_hard,
            "images": len(score.hits),
            "hits": sum(score.hits.values()),
        }
    return result


def _table(found: Mapping[str, FolderEvaluation]) -> str:
    scores = {name: each.evaluation.rows[ROW] for name, each in found.items()}
    measured = set().union(*(score.metrics for score in scores.values()))
    keys = [key for key in MEASURES if key in measured]
    rows = []
    for name, score in scores.items():
        figures = [figure(score.metrics.get(key, float("nan"))) for key in keys]
        rows.append([name, *figures, f"{score.images:,}"])
    return text_table(["predictions", *map(title, keys), "images"], rows)


def _print_notes(name: str, found: FolderEvaluation) -> None:
    for key, count in sorted(found.notes.items()):
        if key in ONE_SIDED:
            continue
        print(f"{name}: {count:,} {NOTES[key]}.")
    images, skipped = found.evaluation.images, found.evaluation.skipped
    if not skipped:
        return
    print(f"{name}: {images:,} of {images + len(skipped):,} scored, {len(skipped):,} skipped:")
    for path, reason in skipped[:_SHOWN]:
        print(f"  {path}: {reason}")
    if len(skipped) > _SHOWN:
        print(f"  … and {len(skipped) - _SHOWN:,} more; --output lists them all.")


def _lines(found: Mapping[str, FolderEvaluation]) -> list[dict[str, Any]]:
    """One line per image, with the name of its folder where there are several."""
    lines = []
    for name, each in found.items():
        about = {"predictions": name} if len(found) > 1 else {}
        lines += [about | line for line in each.evaluation.rows[ROW].lines()]
    return lines


def _names(folders: Sequence[Path]) -> list[str]:
    """Return the shortest ends of the folders' paths that differ."""
    parts = [folder.resolve().parts for folder in folders]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    raise UserError(f"--predictions names a folder twice: {', '.join(map(str, folders))}.")
