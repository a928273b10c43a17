"""The head that ships with the package: Sempart with both tricks on DINOv2 ViT-S/14, trained without labels."""

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


def load_released_weights(module: SegmentationModule) -> None:
    """Load the released head and its sign into a module that was made from ``CONFIG``.

    Raises:
        UserError: options were changed that its tensors depend on, such as the backbone; or the file is damaged.
    """
    try:
        with safe_open(WEIGHTS, "pt") as file:
            about: dict[str, str] = file.metadata()
        state = safetensors.torch.load_file(WEIGHTS)
    except (OSError, safetensors.SafetensorError) as error:
        raise UserError(
            f"The released head {WEIGHTS} cannot be read ({error}).\n"
            "Next: install segtricks again, or pass a run of your own with --run."
        ) from error
    own = module.identity()
    checkpoint: dict[str, Any] = {
        "state_dict": {name: _full(tensor) for name, tensor in state.items()},
        "segtricks": {key: type(value)(about[key]) for key, value in own.items() if key in about},
        "affinity_threshold": float(about["affinity_threshold"]),
        "optimizer_states": [],
        "lr_schedulers": [],
    }
    module.on_load_checkpoint(checkpoint)
    module.load_state_dict(checkpoint["state_dict"])


def _full(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor
