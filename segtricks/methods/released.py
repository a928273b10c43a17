"""The head that ships with the package: Sempart with both tricks on DINOv2 ViT-S/14, trained without labels."""

from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import safe_open

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
        metadata: dict[str, str] = file.metadata()
    state = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in read_weights().items()}
    own = module.identity()
    checkpoint: dict[str, Any] = {
        "state_dict": state,
        "segtricks": {key: type(own[key])(metadata[key]) if key in metadata else None for key in own},
        "affinity_threshold": float(metadata["affinity_threshold"]),
        "optimizer_states": [],
        "lr_schedulers": [],
    }
    module.on_load_checkpoint(checkpoint)
    module.load_state_dict(checkpoint["state_dict"])


def read_weights() -> dict[str, Any]:
    """Tensors of the released file, by name."""
    return safetensors.torch.load_file(WEIGHTS)
