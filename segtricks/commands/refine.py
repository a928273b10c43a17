"""``segtricks refine``: any method's masks and their photographs in, refined soft masks out."""

import dataclasses
import os
from argparse import Namespace
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args, get_type_hints

import torch

from segtricks.commands.options import OptionParser
from segtricks.data.images import UnreadableImage, read_image
from segtricks.errors import UserError
from segtricks.metrics import apply_polarity
from segtricks.metrics.protocols import fit
from segtricks.parallel import in_threads
from segtricks.refine import BILATERAL_PRESETS, BilateralSolver, GuidedFilter
from segtricks.reports.writer import count_one_sided, warn_one_sided, write_png
from segtricks.runs import write_json
from segtricks.scoring.mask_pairs import Pair, pair_masks, prediction_folder
from segtricks.scoring.mask_reading import PREDICTION_NOTES, read_prediction


@dataclass(frozen=True)
class Method:
    """A refiner that can be named: a dataclass of options, callable as ``(mask, image)``, and its presets."""

    kind: type
    presets: Mapping[str, Any] = field(default_factory=dict)


METHODS = {
    "guided_filter": Method(GuidedFilter, {"two-tricks": GuidedFilter()}),
    "bilateral_solver": Method(BilateralSolver, BILATERAL_PRESETS),
}

_SHOWN = 5
EMPTY, FULL = "empty", "full"
"""Notes on a refined mask without foreground, and on one of nothing else."""

_WHY_ONE_SIDED = (
    "Likely the masks that were given are so, or so thin or faint that they vanish.\n"
    "Next: look at some of them; then try --polarity border, or a narrower refiner (see --help)."
)

USAGE = """--masks MASKS --images PHOTOS --output OUT [--method NAME] [--preset NAME] [--option value]

  --masks DIR      folder of masks, or what segtricks predict or discover wrote
  --images DIR     their photographs, of the same names
  --output DIR     where to write the refined soft masks
  --method NAME    guided_filter or bilateral_solver
  --preset NAME    a published choice of its options
  --polarity RULE  first turn a mask over if its mean (image), or its mean along the border (border), exceeds 0.5
  --workers N      masks refined at once

""" + "\n".join(
    f"  {name}: {', '.join(f'--{f.name} {f.default}' for f in dataclasses.fields(method.kind))}; "
    f"presets {', '.join(method.presets)}"
    for name, method in METHODS.items()
)


def main(words: Sequence[str]) -> None:
    """Run the command with its option words."""
    options = _parser().parse_args(list(words))
    refiner = make_refiner(options)
    source = prediction_folder(options.masks)
    for folder in (options.masks, source, options.images):
        if options.output.resolve() == folder.resolve():
            raise UserError(f"--output {options.output} is a folder of the input: pass another one.")
    pairs = pair_masks(options.masks, options.images, ("mask", "photograph"))
    skipped, notes, written = list(pairs.skipped), Counter[str](), 0

    def work(pair: Pair) -> set[str] | tuple[str, str]:
        _, mask, photo = pair
        assert photo is not None
        name = mask.relative_to(source).with_suffix(".png")
        try:
            return _refine(mask, photo, options.output / name, refiner, options.polarity)
        except UnreadableImage as error:
            return error.path, error.reason

    for outcome in in_threads(work, pairs.found, max(1, options.workers), "refine"):
        if isinstance(outcome, tuple):
            skipped.append(outcome)
        else:
            notes.update(outcome)
            written += 1
    settings = {"method": options.method, **dataclasses.asdict(refiner)}
    listed = [{"path": path, "reason": reason} for path, reason in skipped]
    index = {"refiner": settings, "polarity": options.polarity, "images": written, "skipped": listed}
    write_json(options.output / "index.json", index)
    _report(options.output, settings, written, skipped, notes)


def _parser() -> OptionParser:
    parser = OptionParser("refine", USAGE)
    for name in ("masks", "images", "output"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--method", choices=METHODS, default="guided_filter")
    parser.add_argument("--preset")
    parser.add_argument("--polarity", choices=("none", "image", "border"), default="none")
    parser.add_argument("--workers", type=int, default=min(16, os.cpu_count() or 1))
    for name in dict.fromkeys(f.name for method in METHODS.values() for f in dataclasses.fields(method.kind)):
        parser.add_argument(f"--{name}")
    return parser


def _report(
    output: Path, settings: Mapping[str, Any], written: int, skipped: Sequence[tuple[str, str]], notes: Counter[str]
) -> None:
    """Say what was read in an unusual way, what was left out and what was written.

    Raises:
        UserError: nothing was.
    """
    empty, full = notes.pop(EMPTY, 0), notes.pop(FULL, 0)
    for key, count in sorted(notes.items()):
        print(f"{count:,} {PREDICTION_NOTES[key].replace('their target', 'their photograph')}.")
    for path, reason in skipped[:_SHOWN]:
        print(f"skipped {path}: {reason}")
    if len(skipped) > _SHOWN:
        print(f"… and {len(skipped) - _SHOWN:,} more, listed in {output / 'index.json'}")
    print(
        f"{written:,} of {written + len(skipped):,} masks refined to {output} ({_plain(settings)}); "
        f"{count_one_sided(empty, full)}"
    )
    warn_one_sided(empty, full, written, _WHY_ONE_SIDED)
    if not written:
        raise UserError(f"No mask could be refined: {len(skipped):,} were skipped, see {output / 'index.json'}.")


def make_refiner(options: Namespace) -> Any:
    """Return the refiner that the options describe: a preset or the defaults, with the options that were given.

    Raises:
        UserError: an unknown preset, an option of another method, or a value that is out of range.
    """
    method = METHODS[options.method]
    if options.preset is not None and options.preset not in method.presets:
        raise UserError(f"{options.method} has no preset {options.preset!r}. Allowed: {', '.join(method.presets)}.")
    own = get_type_hints(method.kind)
    everyone = {f.name for other in METHODS.values() for f in dataclasses.fields(other.kind)}
    given = {name: getattr(options, name) for name in everyone if getattr(options, name) is not None}
    if foreign := sorted(set(given) - set(own)):
        raise UserError(f"{options.method} has no option --{foreign[0]}. Allowed: {', '.join(f'--{n}' for n in own)}.")
    base = method.presets[options.preset] if options.preset else method.kind()
    values = {name: _value(name, text, own[name]) for name, text in given.items()}
    try:
        refiner = dataclasses.replace(base, **values)
        refiner(torch.zeros(1, 1, 64, 64), torch.zeros(1, 3, 64, 64))
    except ValueError as error:
        raise UserError(f"{options.method}: {error}.") from error
    return refiner


def _refine(mask: Path, photo: Path, output: Path, refiner: Any, polarity: str) -> set[str]:
    image = read_image(photo)[None].float() / 255
    values, notes = read_prediction(mask)
    size = (image.shape[-2], image.shape[-1])
    soft = apply_polarity(values[None].float() / 255, polarity)
    if soft.shape[-2:] != size:
        notes.add("resized")
        soft = fit(soft, size)
    try:
        refined = refiner(soft, image).clamp(0, 1)
    except ValueError as error:
        raise UnreadableImage(mask, f"cannot be refined: {error}") from error
    write_png(output, (refined[0, 0] * 255).round().to(torch.uint8).numpy())
    inside = refined > 0.5
    if not inside.any():
        notes.add(EMPTY)
    elif inside.all():
        notes.add(FULL)
    return notes


def _value(name: str, text: str, kind: Any) -> Any:
    legal = get_args(kind)
    try:
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        if legal and text not in legal:
            raise ValueError
        return text if legal else kind(text)
    except (KeyError, ValueError) as error:
        names = {int: "a whole number", float: "a number", bool: "true or false"}
        raise UserError(f"--{name} must be {names.get(kind) or ' or '.join(legal)}, got {text!r}.") from error


def _plain(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items())
