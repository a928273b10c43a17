"""Heads as files: what was trained of a method, without a frozen backbone, and what it is of."""

import ast
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from lightning.pytorch import LightningModule
from safetensors import safe_open
from torch import Tensor

from segtricks.errors import UserError

_KEPT = ("tau", "affinity_threshold")  # what a checkpoint holds next to its state


def write_head(module: LightningModule, path: Path) -> None:
    """Write what was trained of a module, and its identity and threshold as metadata."""
    content: dict[str, Any] = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(content)
    about = content["segtricks"] | {key: content[key] for key in _KEPT if key in content}
    state = {name: tensor.contiguous() for name, tensor in content["state_dict"].items()}
    safetensors.torch.save_file(state, path, {key: str(value) for key, value in about.items()})


def read_head(path: Path, advice: str) -> dict[str, Any]:
    """Return a head's file as the content of a checkpoint, in single precision.

    Args:
        path: the file.
        advice: what to do if it is damaged.

    Raises:
        UserError: it cannot be read.
    """
    try:
        with safe_open(path, "pt") as file:
            about = {key: _value(text) for key, text in (file.metadata() or {}).items()}
        state = safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise UserError(f"The head {path} cannot be read ({error}).\nNext: {advice}.") from error
    kept = {key: about.pop(key) for key in _KEPT if key in about}
    return kept | {
        "state_dict": {name: _full(tensor) for name, tensor in state.items()},
        "segtricks": about,
        "optimizer_states": [],
        "lr_schedulers": [],
    }


def _value(text: str) -> Any:
    """The number, None or text that was written as ``text``."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _full(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor
