"""The head that ships with the package: Sempart with both tricks on DINOv2 ViT-S/14, trained without labels."""

from pathlib import Path

from segtricks.methods.base import SegmentationModule
from segtricks.training.head_files import read_head

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
    checkpoint = read_head(WEIGHTS, "install segtricks again, or pass a run of your own with --run")
    module.on_load_checkpoint(checkpoint)
    module.load_state_dict(checkpoint["state_dict"])
