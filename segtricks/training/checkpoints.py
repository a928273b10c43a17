"""What a checkpoint holds: everything that was trained, and the name of what was frozen."""

import math
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

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


def optimizer_options(optimizer: Optimizer) -> dict[str, Any]:
    """Return what :func:`prefer_options` compares of an optimiser as it was configured."""
    return {
        "optimizer_options": optimizer.defaults,
        "optimizer_rates": [group["lr"] for group in optimizer.param_groups],
    }


def check_groups(checkpoint: dict[str, Any], optimizer: Optimizer) -> None:
    """Raise a ``UserError`` unless an optimiser has groups of as many parameters as the one that was saved."""
    saved = [len(group["params"]) for state in checkpoint["optimizer_states"] for group in state["param_groups"]]
    now = [len(group["params"]) for group in optimizer.param_groups]
    if saved != now:
        raise UserError(
            "These options train other parameters than the checkpoint's, or others at a rate of their own: groups of "
            f"{_counted(now)} instead of {_counted(saved)}.\n"
            "Next: resume with the run's options, above all those of the model, or pass another --name."
        )


def _counted(counts: list[int]) -> str:
    return ", ".join(map(str, counts)) or "none"


def prefer_options(checkpoint: dict[str, Any], optimizer: Optimizer) -> None:
    """Let the optimiser options of today beat those that the checkpoint remembers, where they were changed.

    Args:
        checkpoint: a Lightning checkpoint that was saved with :func:`optimizer_options`; changed in place.
        optimizer: as configured now. A group of parameters with a value of its own keeps it. A new learning rate, of
            all or of one group, scales the current one, so that a schedule goes on from where it was.
    """
    saved = checkpoint.get("optimizer_options", optimizer.defaults)
    groups = [group for state in checkpoint["optimizer_states"] for group in state["param_groups"]]
    changed = {key: value for key, value in optimizer.defaults.items() if key in saved and saved[key] != value}
    for group in groups:
        plain = {key for key in changed if key != "lr" and group[key] == saved[key]}
        group.update({key: changed[key] for key in plain})
    rates = checkpoint.get("optimizer_rates") or _rates_of_before(groups, optimizer, saved["lr"])
    reached = next((group["lr"] / rate for group, rate in zip(groups, rates, strict=False) if rate), 1.0)
    for place, (group, rate, now) in enumerate(zip(groups, rates, optimizer.param_groups, strict=False)):
        if math.isclose(rate, now["lr"]):
            continue
        group["lr"] = now["lr"] * (group["lr"] / rate if rate else reached)
        if "initial_lr" in group:
            group["initial_lr"] = now["lr"]
        for schedule in checkpoint["lr_schedulers"]:
            if "base_lrs" in schedule:
                schedule["base_lrs"][place] = now["lr"]


def _rates_of_before(groups: list[dict[str, Any]], optimizer: Optimizer, common: float) -> list[float]:
    """The rate that each group began with, where an older checkpoint does not tell and no schedule has kept it.

    Then the factors of the groups are taken as those of today.
    """
    today = optimizer.defaults["lr"]
    factors = [group["lr"] / today if today else 1.0 for group in optimizer.param_groups]
    factors += [1.0] * (len(groups) - len(factors))
    return [group.get("initial_lr", common * factor) for group, factor in zip(groups, factors, strict=False)]
