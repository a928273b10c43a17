"""The sign of a trained head: whether what it calls foreground is the objects or what is around them.

The normalized cut is the same for a mask and its complement, so training decides by chance; but one head has one sign
for nearly all photographs. It is found without labels: objects seldom fill the border of a photograph.
"""

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from segtricks.methods.base import SegmentationModule
from segtricks.metrics import border_mean
from segtricks.training.checkpoints import check_identity

log = logging.getLogger(__name__)

_KEPT = 0.98  # of the votes, from one training step to the next: the last 50 steps decide


class ForegroundSign(nn.Module):
    """Counts, over training photographs, on which side of a head's masks their borders lie.

    The count is a buffer, so a checkpoint keeps it. Before any vote nothing is inverted.
    """

    votes: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("votes", torch.zeros(2))

    @torch.no_grad()
    def count(self, prob: Tensor) -> None:
        """Let the masks (B, 1, H, W) of training photographs vote; earlier votes count a little less each time."""
        inside = (border_mean(prob.float()) > 0.5).float().sum()
        self.votes.mul_(_KEPT).add_(torch.stack([inside, len(prob) - inside]))

    def orient(self, prob: Tensor) -> Tensor:
        """Return the masks (B, 1, H, W) of the head, or their complements where most borders lie inside its masks."""
        return torch.where(self.votes[0] > self.votes[1], 1 - prob, prob)

    @property
    def known(self) -> bool:
        """Whether anything has voted."""
        return bool(self.votes.sum() > 0)

    @property
    def inverted(self) -> bool:
        """Whether :meth:`orient` returns complements."""
        return bool(self.votes[0] > self.votes[1])


@torch.no_grad()
def find_sign(module: SegmentationModule, checkpoint: dict[str, Any], images: Callable[[], list[Tensor]]) -> None:
    """Let a module find the sign of a checkpoint of before it was kept; others are left as they are.

    Args:
        module: that the checkpoint belongs to.
        checkpoint: content of the file; not changed.
        images: returns normalised photographs (3, H, W) whose borders decide, and is called only if they are needed.
    """
    sign = getattr(module, "sign", None)
    if sign is None or "sign.votes" in checkpoint["state_dict"]:
        return
    photographs = images()
    if not photographs:
        log.warning(
            "This checkpoint does not say which side of its masks is foreground, and no photographs show it.\n"
            "Next: pass the photographs it was trained on with --data.train, or turn masks over where they are wrong."
        )
        return
    check_identity(checkpoint, module.identity())
    own = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    trained = {name: tensor for name, tensor in checkpoint["state_dict"].items() if name in own}
    module.load_state_dict(own | trained)
    module.eval()
    for image in photographs:
        sign.count(module(image[None]).fine.float().sigmoid())
    log.warning(
        "This checkpoint does not say which side of its masks is foreground: by the borders of %d photographs, %s its "
        "head marks.",
        len(photographs),
        "the complement of what" if sign.inverted else "what",
    )
