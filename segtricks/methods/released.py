"""Heads as files: the one that ships with the package, and those that people share. None of them holds a backbone.

The one that ships is Sempart with both tricks on DINOv2 ViT-S/14, trained without labels.
"""

import ast
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from safetensors import safe_open
from torch import Tensor

from segtricks.errors import UserError
from segtricks.methods.base import SegmentationModule

_FOLDER = Path(__file__).parents[1] / "released"
NAME = "sempart_tricks_dinov2_vits14"
CONFIG = _FOLDER / f"{NAME}.yaml"
"""Its options. The model card has the same name, with ``.md``."""
WEIGHTS = _FOLDER / f"{NAME}.safetensors"
"""State of everything but the backbone, in half precision."""
_KEPT = ("tau", "affinity_threshold")  # what a checkpoint holds next to its state


def load_released_weights(module: SegmentationModule) -> None:
    """Load the released head and its sign into a module that was made from ``CONFIG``.

    Raises:
        UserError: options were changed that its tensors depend on, such as the backbone; or the file is damaged.
    """
    checkpoint = read_head(WEIGHTS, "install segtricks again, or pass a run of your own with --run")
    module.on_load_checkpoint(checkpoint)
    module.load_state_dict(checkpoint["state_dict"])


def write_head(module: SegmentationModule, path: Path) -> None:
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
