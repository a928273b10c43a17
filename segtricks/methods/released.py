"""The head that ships with the package: Sempart with both tricks on DINOv2 ViT-S/14, trained without labels."""

from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import safe_open
from torch import Tensor

from segtricks.methods.base import SegmentationModule

_FOLDER = Path(__file__).parents[1] / "released"
NAME = "sempart_tricks_dinov2_vits14"
CONFIG = _FOLDER / f"{NAME}.yaml"
"""Its options: ``segtricks test --config`` takes it too. The model card lies beside it."""
WEIGHTS = _FOLDER / f"{NAME}.safetensors"
"""State of everything but the backbone, in half precision."""


def load_released_weights(module: SegmentationModule) -> None:
    """Load the released head and its sign into a module that was made from ``CONFIG``.

    Raises:
        UserError: options were changed that its tensors depend on, such as the backbone.
    """
    with safe_open(WEIGHTS, "pt") as file:
        about: dict[str, str] = file.metadata()
    own = module.identity()
    checkpoint: dict[str, Any] = {
        "state_dict": {name: _full(tensor) for name, tensor in safetensors.torch.load_file(WEIGHTS).items()},
        "segtricks": {key: type(value)(about[key]) for key, value in own.items() if key in about},
        "affinity_threshold": float(about["affinity_threshold"]),
        "optimizer_states": [],
        "lr_schedulers": [],
    }
    module.on_load_checkpoint(checkpoint)
    module.load_state_dict(checkpoint["state_dict"])


def _full(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor
