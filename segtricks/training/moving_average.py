"""The averaged teacher: torch's moving average of a network, without waiting for the device in every step."""

from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class MovingAverage(AveragedModel):
    """Exponential moving average of a network's parameters; its buffers are the network's.

    The first update copies the network, each later one moves the average by ``1 - decay`` of the way. Numbers and
    state are those of ``AveragedModel``, which reads its counter from the device at each update; here it is read
    once, after a start or a loaded state.

    Args:
        network: the network, copied.
        decay: share of the average that an update keeps, from 0 to below 1.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__(network, multi_avg_fn=get_ema_multi_avg_fn(decay))
        self.requires_grad_(False)
        self._started: bool | None = None
        self.register_load_state_dict_post_hook(_forget)

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Move the average towards the network ``model``, which is on the same device."""
        if self._started is None:
            self._started = bool(self.n_averaged)
        averaged, current = ([p.detach() for p in part.parameters()] for part in (self.module, model))
        if self._started and self.multi_avg_fn is not None:
            self.multi_avg_fn(averaged, current, self.n_averaged)
        else:
            torch._foreach_copy_(averaged, current)
        for own, theirs in zip(self.module.buffers(), model.buffers(), strict=True):
            own.copy_(theirs)
        self.n_averaged += 1
        self._started = True


def _forget(average: Any, _: object) -> None:
    average._started = None
