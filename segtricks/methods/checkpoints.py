"""What a checkpoint holds: everything that was trained, and the name of what was frozen."""

from typing import Any

from torch import Tensor

from segtricks.errors import UserError

_FROZEN = "backbone."


def freeze_out(checkpoint: dict[str, Any], identity: dict[str, Any]) -> None:
    """Drop the frozen backbone's tensors from a Lightning checkpoint and write ``identity`` into it."""
    state = checkpoint["state_dict"]
    checkpoint["state_dict"] = {key: value for key, value in state.items() if not key.startswith(_FROZEN)}
    checkpoint["segtricks"] = identity


def thaw_in(checkpoint: dict[str, Any], identity: dict[str, Any], state: dict[str, Tensor]) -> None:
    """Check that the checkpoint is of this network, and add the frozen tensors of ``state`` to it.

    Raises:
        UserError: if the file was not written by segtricks, or a part of ``identity`` differs; both are named.
    """
    saved = checkpoint.get("segtricks")
    if saved is None:
        raise UserError(
            f"The checkpoint was not written by segtricks: it holds {', '.join(list(checkpoint)[:5])}. "
            "For the authors' released heads use segtricks.heads.load_original_head."
        )
    differing = [
        f"{key} {saved.get(key)!r} (here {identity[key]!r})" for key in identity if saved.get(key) != identity[key]
    ]
    if differing:
        raise UserError(
            f"The checkpoint belongs to another network: {', '.join(differing)}. "
            "Next: use the options it was trained with (segtricks test --run runs/NAME does), or another checkpoint."
        )
    frozen = {key: value for key, value in state.items() if key.startswith(_FROZEN)}
    checkpoint["state_dict"] = checkpoint["state_dict"] | frozen
