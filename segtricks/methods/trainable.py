"""What methods that are trained share: their optimiser, and steps of whose images nothing could be read."""

from collections.abc import Mapping

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor

from segtricks.errors import UserError


class Fitting(LightningModule):
    """What methods that are trained log and return; none of several processes waits for one with nothing to read."""

    loss_names: tuple[str, ...] = ()
    """Terms of the objective on held-out images."""

    head: torch.nn.Module
    """The network that is trained."""

    make_optimizer: OptimizerCallable

    _held_out = 0

    def new_optimizer(self) -> torch.optim.Optimizer:
        """Return an optimiser of the head.

        Raises:
            UserError: an option is impossible, such as a negative learning rate.
        """
        try:
            return self.make_optimizer(self.head.parameters())
        except ValueError as error:
            raise UserError(f"model.optimizer: {error}.") from error

    def no_loss(self) -> Tensor | None:
        """Return what a batch of which nothing could be read gives: None, and the step is left out.

        Of several processes, a zero that reaches every trained parameter: the others wait for its gradients.
        """
        if self.trainer.world_size == 1:
            return None
        return torch.stack([parameter.sum() for parameter in self.parameters() if parameter.requires_grad]).sum() * 0

    def training_sample(self, count: int) -> Tensor:
        """Return up to ``count`` training photographs (n, 3, H, W), normalised, of a data module that hands them out.

        They are the same in every process and at every start. Other data modules give none: n is 0.
        """
        sample = getattr(getattr(self.trainer, "datamodule", None), "sample_images", None)
        images: Tensor = torch.empty(0, 3, 1, 1) if sample is None else sample(count)
        return images

    def log_held_out(self, terms: Mapping[str, Tensor], count: int) -> None:
        """Log ``val/TERM``: the mean over the held-out images of all processes; ``count`` of them gave these terms."""
        processes = self.trainer.world_size
        self._held_out += count
        if not count:
            if processes == 1:
                return
            terms = {name: torch.zeros((), device=self.device) for name in self.loss_names}
        logged = {f"val/{name}": term for name, term in terms.items()}
        # Times the processes: Lightning (2.6) averages the counts of all as whole numbers, and would round 2.5 down.
        self.log_dict(logged, batch_size=count * processes, sync_dist=True)

    def on_validation_epoch_start(self) -> None:
        """Count anew."""
        self._held_out = 0

    def on_validation_epoch_end(self) -> None:
        """Refuse to judge by nothing.

        Raises:
            UserError: no held-out image could be read.
        """
        count = self.trainer.strategy.reduce(torch.tensor(float(self._held_out), device=self.device), reduce_op="sum")
        if not count:
            raise UserError(
                "None of the held-out images could be read, so that no checkpoint can be called the best.\n"
                "Next: segtricks data verify PHOTOS --fix-list good.txt, or hold out more: --data.held_out 0.1"
            )
