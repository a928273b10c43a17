"""A trained run, back in Python."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from lightning.pytorch.utilities.seed import isolate_rng

from segtricks.commands.lightning_cli import SegtricksCLI, quiet
from segtricks.commands.options import run_words
from segtricks.data.datamodule import whole_size
from segtricks.methods import SegmentationModule
from segtricks.methods.foreground import find_sign
from segtricks.methods.released import CONFIG, load_released_weights
from segtricks.training.checkpoints import read_checkpoint

_HERE = {"accelerator": "cpu", "devices": "1", "num_nodes": "1", "strategy": "auto", "precision": "32-true"}


def load_run(run: str | Path, checkpoint: str | Path | None = None) -> SegmentationModule:
    """Return the model of a run, with the options it was trained with, on the CPU and in evaluation mode.

    Args:
        run: the run folder, or its name below ``runs/``, or ``hf://owner/name[@revision]`` of a shared one.
        checkpoint: one of its checkpoints; left out, the best, or else the last.

    Returns:
        The module: ``masks(photographs)`` takes paths, PIL images or uint8 arrays (H, W, 3) to what
        ``segtricks predict`` writes; ``soft_masks(images)`` takes normalised images (B, 3, H, W), sides multiples of
        ``backbone.patch_size``, to foreground probabilities (B, 1, H, W); ``refiner(mask, rgb01)`` filters them.

    Raises:
        UserError: no such run, no checkpoint, a damaged one, or the backbone's weights cannot be had.
    """
    _, words, path = run_words(str(run), None if checkpoint is None else str(checkpoint), [])
    cli = made_here(words)
    content = read_checkpoint(path)
    find_sign(cli.model, content, partial(cli.sample_images, []))
    cli.model.on_load_checkpoint(content)
    cli.model.load_state_dict(content["state_dict"])
    return _ready(cli)


def load_released() -> SegmentationModule:
    """Return the head that ships with segtricks, on the CPU and in evaluation mode; what it can do: :func:`load_run`.

    Sempart with both tricks on DINOv2 ViT-S/14, trained without labels; the model card lies in ``segtricks/released``.

    Raises:
        UserError: the backbone's weights cannot be had.
    """
    cli = made_here(["--config", str(CONFIG)])
    load_released_weights(cli.model)
    return _ready(cli)


def made_here(words: Sequence[str]) -> SegtricksCLI:
    """Return the model of option words on the CPU of this machine, whatever device they name."""
    quiet()
    here = [word for name, value in _HERE.items() for word in (f"--trainer.{name}", value)]
    with isolate_rng():
        return SegtricksCLI([*words, *here, "--wandb", "off", "--trainer.logger", "false"])


def _ready(cli: SegtricksCLI) -> SegmentationModule:
    module: SegmentationModule = cli.model
    module.input_size, module.input_multiple = whole_size(cli.run_data), cli.run_data.multiple
    return module.eval()
