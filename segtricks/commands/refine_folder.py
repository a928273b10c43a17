"""What ``segtricks refine`` does with its options."""

import dataclasses
from argparse import Namespace
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from segtricks.data.images import UnreadableImage, read_image
from segtricks.data.mask_pairs import Pair, pair_masks, prediction_folder
from segtricks.data.mask_values import MaskRule, decide, on_disk
from segtricks.data.reading import Reading
from segtricks.errors import UserError
from segtricks.metrics import apply_polarity
from segtricks.metrics.protocols import fit
from segtricks.parallel import in_threads
from segtricks.pseudo_labels.mask_files import count_one_sided, warn_one_sided, write_png
from segtricks.refine.registry import create_refiner
from segtricks.runs import write_json
from segtricks.scoring.mask_reading import PREDICTION_NOTES, check_turn, read_prediction

_SHOWN = 5
EMPTY, FULL = "empty", "full"
"""Notes on a refined mask without foreground, and on one of nothing else."""

_WHY_ONE_SIDED = (
    "Likely the masks that were given are so, or so thin or faint that they vanish.\n"
    "Next: look at some of them; then try --polarity border, or a narrower refiner (see --help)."
)


def refine_folder(options: Namespace, given: Mapping[str, str]) -> None:
    """Refine the masks of parsed options; ``given`` are the refiner's own.

    Raises:
        UserError: options that do not go together, or no mask could be refined.
    """
    refiner = create_refiner(options.method, options.preset, given)
    source = prediction_folder(options.masks)
    for folder in (options.masks, source, options.images):
        if options.output.resolve() == folder.resolve():
            raise UserError(f"--output {options.output} is a folder of the input: pass another one.")
    pairs = pair_masks(options.masks, options.images, ("mask", "photograph"))
    skipped, notes, written = list(pairs.skipped), Counter[str](), 0

    rule = decide([mask for _, mask, _ in pairs.found], "masks", workers=max(1, options.workers))
    photographs = Reading([photo for _, _, photo in pairs.found if photo is not None], (), on_disk)
    for line in photographs.lines(False, False):
        print(line)

    def work(pair: Pair) -> set[str] | tuple[str, str]:
        _, mask, photo = pair
        assert photo is not None
        name = mask.relative_to(source).with_suffix(".png")
        try:
            image = read_image(photo, white=photographs.white)
            return _refine(mask, image, options.output / name, refiner, options.polarity, rule)
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


def _refine(mask: Path, photo: Tensor, output: Path, refiner: Any, polarity: str, rule: MaskRule) -> set[str]:
    image = photo[None].float() / 255
    values, notes = read_prediction(mask, rule)
    size = (image.shape[-2], image.shape[-1])
    check_turn(mask, values, size, "its photograph")
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


def _plain(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items())
