"""What a checkpoint holds: everything that was trained, and the name of what was frozen."""

import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from segtricks.errors import UserError

_FROZEN = "backbone."
_NEWER = ("feature", "layer")  # older checkpoints do not say them
_BEFORE = {"fine": True}  # what older checkpoints were, which do not say it


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the content of a Lightning checkpoint, on the CPU; nothing in it is executed.

    Raises:
        UserError: if the file is damaged, or none of Lightning's.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # torch itself compares no checksums
            if (member := archive.testzip()) is not None:
                raise zipfile.BadZipFile(member)
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UserError(
            f"The checkpoint {path} is damaged or holds more than tensors ({type(error).__name__}).\n"
            "Next: pass another one with --ckpt_path FILE."
        ) from error
    if not isinstance(checkpoint, dict) or not {"state_dict", "global_step"} <= set(checkpoint):
        raise UserError(
            f"{path} is not a checkpoint of a run.\nNext: pass one of runs/NAME/checkpoints with --ckpt_path."
        )
    return checkpoint


def freeze_out(checkpoint: dict[str, Any], identity: dict[str, Any], trained: Iterable[str] = ()) -> None:
    """Drop the frozen backbone's tensors from a Lightning checkpoint and write ``identity`` into it.

    A backbone of which anything is among the names of ``trained`` parameters is kept as a whole.
    """
    state = checkpoint["state_dict"]
    if not any(name.startswith(_FROZEN) for name in trained):
        state = {key: value for key, value in state.items() if not key.startswith(_FROZEN)}
    checkpoint["state_dict"] = state
    checkpoint["segtricks"] = identity


def thaw_in(checkpoint: dict[str, Any], identity: dict[str, Any], state: dict[str, Tensor]) -> None:
    """Check that the checkpoint is of this network, and add to it the frozen tensors of ``state`` that it lacks.

    Raises:
        UserError: see :func:`check_identity`.
    """
    check_identity(checkpoint, identity)
    frozen = {key: value for key, value in state.items() if key.startswith(_FROZEN)}
    checkpoint["state_dict"] = frozen | checkpoint["state_dict"]


def check_identity(checkpoint: dict[str, Any], identity: dict[str, Any]) -> None:
    """Check that the checkpoint is of this network.

    Raises:
        UserError: if the file was not written by segtricks, or a part of ``identity`` differs; both are named.
    """
    saved = checkpoint.get("segtricks")
    if saved is None:
        raise UserError(
            f"The checkpoint was not written by segtricks: it holds {', '.join(list(checkpoint)[:5])}. "
            "For the authors' released heads use segtricks.heads.load_original_head."
        )
    saved = _BEFORE | saved
    differing = [
        f"{key} {saved.get(key)!r} (here {identity[key]!r})"
        for key in identity
        if saved.get(key) != identity[key] and (key in saved or key not in _NEWER)
    ]
    if differing:
        raise UserError(
            f"The checkpoint belongs to another network: {', '.join(differing)}. "
            "Next: use the options it was trained with (segtricks test --run runs/NAME does), or another checkpoint."
        )


def prefer_options(checkpoint: dict[str, Any], options: dict[str, Any]) -> None:
    """Let the optimiser options of today beat those that the checkpoint remembers, where they were changed.

    Args:
        checkpoint: a Lightning checkpoint that was saved with ``optimizer_options``; changed in place.
        options: the ``defaults`` of the optimiser as configured now. A group of parameters with a value of its own
            keeps it. A new learning rate scales the current one, so that a schedule goes on from where it was.
    """
    saved = checkpoint.get("optimizer_options", options)
    changed = {key: value for key, value in options.items() if key in saved and saved[key] != value}
    groups = [group for state in checkpoint["optimizer_states"] for group in state["param_groups"]]
    for group in groups:
        plain = {key for key in changed if key != "lr" and group[key] == saved[key]}
        group.update({key: changed[key] for key in plain})
    if "lr" in changed:
        factor = changed["lr"] / saved["lr"] if saved["lr"] else 1.0
        for group in groups:
            group["lr"] *= factor
            if "initial_lr" in group:
                group["initial_lr"] = _like(group["initial_lr"], saved["lr"], changed["lr"])
        for schedule in checkpoint["lr_schedulers"]:
            base = schedule.get("base_lrs", [])
            schedule["base_lrs"] = [_like(rate, saved["lr"], changed["lr"]) for rate in base]


def _like(rate: float, before: float, now: float) -> float:
    """The learning rate of a group of parameters, after the optimiser's has changed."""
    return now * (rate / before) if before else now
