"""What ``segtricks refine`` does with its options."""

import dataclasses
import shutil
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from segtricks.data.images import UnreadableImage, find_images, read_image
from segtricks.data.label_entry import encode_mask, entry_names, write_entry
from segtricks.data.label_store import FORMAT, is_store
from segtricks.data.mask_pairs import Pair, pair_masks, prediction_folder
from segtricks.data.mask_values import MaskRule, decide, on_disk
from segtricks.data.reading import Reading
from segtricks.errors import UserError
from segtricks.metrics import apply_polarity
from segtricks.metrics.protocols import fit
from segtricks.parallel import in_threads
from segtricks.pseudo_labels.mask_files import KINDS, count_one_sided, warn_one_sided, write_pictures, write_png
from segtricks.pseudo_labels.parts import check_settings, known_settings
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


Write = Callable[[Path, Path, Tensor, Tensor], None]
"""Writes, of a mask and its photograph, given by their files, the photograph's pixels and the refined mask."""


def refine_folder(options: Namespace, given: Mapping[str, str]) -> None:
    """Refine the masks of parsed options; ``given`` are the refiner's own.

    Raises:
        UserError: options that do not go together, or no mask could be refined.
    """
    refiner = create_refiner(options.method, options.preset, given)
    source = prediction_folder(options.masks)
    _check_output(options.output, options.masks, source, options.images)
    if source == options.masks and is_store(source):
        raise UserError(
            f"{source} holds no soft/: its masks are several a photograph, or were written without them.\n"
            "Next: pass what predict or discover wrote with --format masks."
        )
    pairs = pair_masks(options.masks, options.images, ("mask", "photograph"))
    skipped, notes = list(pairs.skipped), Counter[str]()
    written: dict[str, set[str]] = {}

    rule = decide([mask for _, mask, _ in pairs.found], "masks", workers=max(1, options.workers))
    photographs = Reading([photo for _, _, photo in pairs.found if photo is not None], (), on_disk)
    for line in photographs.lines(False, False):
        print(line)
    settings = {"method": options.method, **dataclasses.asdict(refiner)}
    made = {"refiner": settings, "polarity": options.polarity}
    if options.overwrite and "refiner" in known_settings(options.output):
        _remove_refined(options.output)
    check_settings(options.output, made, "Next: pass another --output, or the same options, or --overwrite.")
    folders = options.layout == "folders" or (options.layout == "same" and source != options.masks)
    write = _store_writer(options, made) if folders else partial(_write_flat, options.output, source)

    def work(pair: Pair) -> tuple[str, set[str]] | tuple[str, str]:
        _, mask, photo = pair
        assert photo is not None
        try:
            image = read_image(photo, white=photographs.white)
            refined, found = _refine(mask, image, refiner, options.polarity, rule)
            write(mask, photo, image, refined)
            return str(photo.relative_to(options.images)), found
        except UnreadableImage as error:
            return error.path, error.reason

    for name, outcome in in_threads(work, pairs.found, max(1, options.workers), "refine"):
        if isinstance(outcome, str):
            skipped.append((name, outcome))
        else:
            written[name] = outcome
            notes.update(outcome)
    listed = [{"path": path, "reason": reason} for path, reason in skipped]
    index = made | {"images": len(written), "skipped": listed}
    write_json(options.output / "index.json", _store_index(written, made) | index if folders else index)
    _report(options.output, settings, len(written), skipped, notes)


def _check_output(output: Path, masks: Path, source: Path, images: Path) -> None:
    """Refuse to write where masks or photographs are read (``UserError``)."""
    whole = output.resolve()
    if whole == masks.resolve():
        raise UserError(f"--output {output} is a folder of the input: pass another one.")
    for folder in (source, images):
        if folder.resolve() in (whole, *whole.parents):
            raise UserError(f"--output {output} is or lies in {folder}, which is read: pass another one.")


def _remove_refined(output: Path) -> None:
    """Remove what :func:`_store_writer` wrote, ``settings.json`` last."""
    for name in (*KINDS, "entries"):
        shutil.rmtree(output / name, ignore_errors=True)
    (output / "index.json").unlink(missing_ok=True)
    (output / "settings.json").unlink()


def _write_flat(output: Path, source: Path, mask: Path, photo: Path, pixels: Tensor, refined: Tensor) -> None:
    """Write a refined mask with the name of the mask below ``source``."""
    name = mask.relative_to(source).with_suffix(".png")
    write_png(output / name, (refined * 255).round().to(torch.uint8).numpy())


def _store_writer(options: Namespace, made: Mapping[str, Any]) -> Write:
    """Return what writes refined masks as ``predict`` does: three pictures and an entry, with the photograph's name.

    First write ``settings.json``: what the masks are ``made`` with.
    """
    names = entry_names(path.relative_to(options.images) for path in find_images(options.images))
    output: Path = options.output
    write_json(output / "settings.json", made)

    def write(mask: Path, photo: Path, pixels: Tensor, refined: Tensor) -> None:
        relative = photo.relative_to(options.images)
        name = names[relative]
        files = {kind: output / kind / f"{name}.{suffix}" for kind, suffix in KINDS.items()}
        inside = write_pictures(refined.numpy(), pixels.permute(1, 2, 0).numpy(), files)
        masks = [encode_mask(inside)] if inside.any() else []
        write_entry(output, name, relative.as_posix(), (inside.shape[0], inside.shape[1]), masks)

    return write


def _store_index(written: Mapping[str, set[str]], made: Mapping[str, Any]) -> dict[str, Any]:
    """What ``predict`` writes to ``index.json``, of masks with these notes."""
    empty = sorted(name for name, notes in written.items() if EMPTY in notes)
    full = sorted(name for name, notes in written.items() if FULL in notes)
    lists = {"written": sorted(written), "empty": empty, "full": full}
    masks = len(written) - len(empty)
    return {"format": FORMAT, "masks": masks, "already_there": 0, "settings": dict(made), **lists}


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


def _refine(mask: Path, photo: Tensor, refiner: Any, polarity: str, rule: MaskRule) -> tuple[Tensor, set[str]]:
    """Return the refined mask (H, W), and notes on how it was read and what it is like."""
    image = photo[None].float() / 255
    values, notes = read_prediction(mask, rule)
    size = (image.shape[-2], image.shape[-1])
    check_turn(mask, values, size, "its photograph")
    soft = apply_polarity(values[None].float() / 255, polarity)
    if soft.shape[-2:] != size:
        notes.add("resized")
        soft = fit(soft, size)
    try:
        refined: Tensor = refiner(soft, image).clamp(0, 1)[0, 0]
    except ValueError as error:
        raise UnreadableImage(mask, f"cannot be refined: {error}") from error
    inside = refined > 0.5
    if not inside.any():
        notes.add(EMPTY)
    elif inside.all():
        notes.add(FULL)
    return refined, notes


def _plain(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items())
