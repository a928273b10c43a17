"""Stop a run whose loss is not finite, without waiting for the device in every step."""

from torch import Tensor, stack

from segtricks.errors import UserError


class FiniteLosses:
    """Losses of the last steps, looked at together: reading one makes the host wait until the device has it."""

    def __init__(self) -> None:
        self._unread: list[tuple[int, list[str], Tensor]] = []

    def add(self, loss: Tensor, step: int, paths: list[str]) -> None:
        """Keep the loss (scalar tensor, on any device) of a step on these files until the next :meth:`read`."""
        self._unread.append((step, paths, loss.detach()))

    def read(self) -> None:
        """Look at the losses that were added since the last call.

        Raises:
            UserError: if one is not finite; names the first such step and its files.
        """
        unread, self._unread = self._unread, []
        if not unread:
            return
        losses = stack([loss for _, _, loss in unread])
        bad = losses.isfinite().logical_not().tolist()
        if True in bad:
            step, paths, loss = unread[bad.index(True)]
            raise UserError(
                f"The loss became {loss.item()} at step {step}, on: {', '.join(paths)}. "
                "Next: resume from the last checkpoint with a smaller --model.optimizer.lr, or remove these files."
            )
