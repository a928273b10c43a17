"""The sign of a trained head: whether what it calls foreground is the objects or what is around them.

The normalized cut is the same for a mask and its complement, so training decides by chance; but one head has one sign
for nearly all photographs. It is found without labels: objects seldom fill the border of a photograph.
"""

import torch
from torch import Tensor, nn

from segtricks.metrics import border_mean

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
