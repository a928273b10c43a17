"""A trained run, back in Python."""

from pathlib import Path

from lightning.pytorch.utilities.seed import isolate_rng

from segtricks.commands.lightning_cli import SegtricksCLI, quiet
from segtricks.commands.options import run_words
from segtricks.methods import SegmentationModule
from segtricks.methods.checkpoints import read_checkpoint

_HERE = {"accelerator": "cpu", "devices": "1", "num_nodes": "1", "strategy": "auto", "precision": "32-true"}


def load_run(run: str | Path, checkpoint: str | Path | None = None) -> SegmentationModule:
    """Return the model of a run, with the options it was trained with, on the CPU and in evaluation mode.

    Args:
        run: the run folder, or its name below ``runs/``.
        checkpoint: one of its checkpoints; left out, the best, or else the last.

    Returns:
        The module: ``soft_masks(images)`` takes normalised images (B, 3, H, W), sides multiples of
        ``backbone.patch_size``, to probabilities (B, 1, H, W); ``refiner(mask, rgb01)`` filters them.

    Raises:
        UserError: no such run, no checkpoint, a damaged one, or the backbone's weights cannot be had.
    """
    _, words, path = run_words(str(run), None if checkpoint is None else str(checkpoint), [])
    quiet()
    here = [word for name, value in _HERE.items() for word in (f"--trainer.{name}", value)]
    with isolate_rng():
        module: SegmentationModule = SegtricksCLI([*words, *here, "--wandb", "off", "--trainer.logger", "false"]).model
    content = read_checkpoint(path)
    module.on_load_checkpoint(content)
    module.load_state_dict(content["state_dict"])
    return module.eval()
