"""How checkpoints get onto the disk, and how a run finds the one to go on from."""

import io
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from segtricks.errors import UserError
from segtricks.runs import PREVIOUS, checkpoints_to_resume, replacing
from segtricks.training.checkpoints import read_checkpoint


class CheckpointFiles(TorchCheckpointIO):
    """Write a checkpoint to a temporary name, wait for the disk, then rename; keep the ``last.ckpt`` before this one.

    Lightning's own also renames, but without waiting, and leaves nothing to fall back to.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Write one.

        Raises:
            OSError: the disk is full, or cannot be written to; the files that were there are untouched.
        """
        path = Path(path)
        content = io.BytesIO()  # torch answers a full disk with a RuntimeError that does not say so
        torch.save(checkpoint, content)
        with replacing(path) as temporary:
            temporary.write_bytes(content.getbuffer())
            if path.name == "last.ckpt" and path.is_file():
                # Killed between the two renames, a run has no last.ckpt, and goes on from the one before.
                path.replace(path.with_name(f"{PREVIOUS}.ckpt"))


def newest_checkpoint(run: Path) -> tuple[Path | None, list[str]]:
    """Return the checkpoint that a run goes on from, None where there is none, and a word on each damaged one.

    Raises:
        UserError: all that are there are damaged.
    """
    damaged: list[UserError] = []
    for path in checkpoints_to_resume(run):
        try:
            read_checkpoint(path)
        except UserError as error:
            damaged.append(error)
        else:
            return path, [str(error).splitlines()[0] for error in damaged]
    if damaged:
        message = "\n".join(str(error).splitlines()[0] for error in damaged)
        raise UserError(f"{message}\nNext: start a new training under another --name.")
    return None, []
