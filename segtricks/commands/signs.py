"""The sign of heads that were trained before it was kept: found when they are loaded."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from segtricks.commands.lightning_cli import SegtricksCLI
from segtricks.data.datamodule import spread
from segtricks.data.images import UnreadableImage, read_image
from segtricks.data.transforms import fit_short_side, to_input
from segtricks.errors import UserError
from segtricks.training.checkpoints import check_identity

_LOOKED_AT = 32  # photographs
log = logging.getLogger(__name__)


@torch.no_grad()
def find_sign(cli: SegtricksCLI, checkpoint: dict[str, Any], photographs: Sequence[Path]) -> None:
    """Let the model know the sign of a checkpoint that does not hold it; others are left as they are.

    Training photographs decide, or ``photographs`` where those cannot be opened: a sample spread evenly over all of
    them, so that parts of a list that are predicted apart agree.

    Args:
        cli: the model that the checkpoint belongs to, and its data.
        checkpoint: content of the file; not changed.
        photographs: what masks are wanted of; may be empty.
    """
    sign = getattr(cli.model, "sign", None)
    if sign is None or "sign.votes" in checkpoint["state_dict"]:
        return
    images = _training_images(cli) or _images(photographs, cli)
    if not images:
        log.warning(
            "This checkpoint does not say which side of its masks is foreground, and no photographs show it.\n"
            "Next: pass the photographs it was trained on with --data.train, or turn masks over where they are wrong."
        )
        return
    check_identity(checkpoint, cli.model.identity())
    own = {name: tensor.clone() for name, tensor in cli.model.state_dict().items()}
    trained = {name: tensor for name, tensor in checkpoint["state_dict"].items() if name in own}
    cli.model.load_state_dict(own | trained)
    cli.model.eval()
    for image in images:
        sign.count(cli.model(image[None]).fine.float().sigmoid())
    side = "the complement of what" if sign.inverted else "what"
    log.warning(
        "This checkpoint does not say which side of its masks is foreground: by the borders of %d photographs, %s its "
        "head marks.",
        len(images),
        side,
    )


def _training_images(cli: SegtricksCLI) -> list[Tensor]:
    try:
        return list(cli.run_data.sample_images(_LOOKED_AT))
    except UserError:
        return []


def _images(photographs: Sequence[Path], cli: SegtricksCLI) -> list[Tensor]:
    data, images = cli.run_data, []
    for i in spread(len(photographs), _LOOKED_AT):
        try:
            images.append(to_input(fit_short_side(read_image(photographs[i]), data.size, data.multiple)))
        except UnreadableImage:
            continue
    return images
