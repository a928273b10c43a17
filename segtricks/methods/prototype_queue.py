"""The queue of prototypes of earlier batches: the negatives that a batch itself is too small for."""

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from segtricks.errors import UserError


class PrototypeQueue(nn.Module):
    """The last ``length`` prototypes, random unit vectors at the start; a push overwrites the oldest ones.

    Args:
        length: number of prototypes K.
        dim: their dimensions D.
    """

    entries: Tensor
    """(K, D) unit vectors."""

    position: Tensor
    """Index of the oldest one."""

    def __init__(self, length: int, dim: int) -> None:
        super().__init__()
        if min(length, dim) < 1:
            raise UserError(f"model.queue must be at least 1, got {length}.")
        self.register_buffer("entries", normalize(torch.randn(length, dim), dim=1))
        self.register_buffer("position", torch.zeros((), dtype=torch.int64))

    def push(self, keys: Tensor) -> None:
        """Let ``keys`` (n, D) take the places of the oldest n, around the end.

        Raises:
            UserError: there are more keys than places.
        """
        length = len(self.entries)
        if len(keys) > length:
            raise UserError(
                f"A queue of {length} prototypes cannot take the {len(keys)} of a batch.\n"
                f"Next: pass --model.queue {2 * len(keys)}, twice the images of a batch of all processes."
            )
        places = (self.position + torch.arange(len(keys), device=self.position.device)) % length
        self.entries[places] = keys.detach().to(self.entries.dtype)
        self.position.copy_((self.position + len(keys)) % length)
