"""Training code shared by all trainable methods: the optimiser, the held-out log, batches without an image."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import OptimizerCallable, instantiate_class
from torch import Tensor

from segtricks.errors import UserError
from segtricks.training.checkpoints import optimizer_options, prefer_options
from segtricks.training.finite import FiniteLosses


class Trainable(LightningModule):
    """A method that is trained. None of several processes waits for one whose batch has no image.

    A subclass sets ``default_optimizer`` and ``loss_names``, calls :meth:`use_optimizer` in its ``__init__``, and
    :meth:`log_step` and :meth:`log_held_out` in its steps. What it trains is every parameter that takes a gradient; it
    may override :meth:`trained_parameters`, for example to give groups of parameters options of their own.
    """

    default_optimizer: ClassVar[dict[str, Any]]
    """``class_path`` and ``init_args`` of the optimiser where none is given, as options that can be changed."""

    training_options: ClassVar[tuple[str, ...]] = ("optimizer", "lr_scheduler", "compile", "seed")
    """Options that matter to training alone: the help of ``predict`` and ``test`` leaves them out."""

    loss_names: tuple[str, ...] = ()
    """Terms of the objective on held-out images."""

    _held_out = 0

    def use_optimizer(self, make: OptimizerCallable | None) -> None:
        """Take an optimiser, None is the default one.

        Raises:
            UserError: an option is impossible, such as a negative learning rate.
        """
        self._make_optimizer = make
        self._losses = FiniteLosses()
        self.new_optimizer()  # before a run folder is made

    def trained_parameters(self) -> Iterator[Any]:
        """Yield what the optimiser gets: parameters, or groups of them, in which ``lr_factor`` multiplies the rate."""
        return (parameter for parameter in self.parameters() if parameter.requires_grad)

    def new_optimizer(self) -> torch.optim.Optimizer:
        """Return an optimiser of what is trained.

        Raises:
            UserError: an option is impossible, such as a negative learning rate.
        """
        parameters = self.trained_parameters()
        optimizer: torch.optim.Optimizer
        try:
            if self._make_optimizer is not None:
                optimizer = self._make_optimizer(parameters)
            else:
                optimizer = instantiate_class(parameters, self.default_optimizer)
        except ValueError as error:
            raise UserError(f"model.optimizer: {error}.") from error
        for group in optimizer.param_groups:
            group["lr"] *= group.pop("lr_factor", 1.0)
        return optimizer

    def log_step(self, loss: Tensor, terms: Mapping[str, Tensor], paths: list[str]) -> None:
        """Log ``train/loss`` and ``train/TERM`` of a step on these files.

        Raises:
            UserError: a loss since the last look is not finite.
        """
        self.log("train/loss", loss, batch_size=len(paths))
        self.log_dict({f"train/{name}": term.detach() for name, term in terms.items()}, batch_size=len(paths))
        self._losses.add(loss, self.global_step, paths)
        # On a GPU only when the logger reads them anyway.
        if loss.device.type == "cpu" or (self.global_step + 1) % self.trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            self._losses.read()

    def on_train_epoch_end(self) -> None:
        """Look at the losses that nobody has looked at."""
        self._losses.read()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse to save what a loss has spoilt; add the optimiser's options, to see on resume which were changed."""
        self._losses.read()
        super().on_save_checkpoint(checkpoint)
        checkpoint |= optimizer_options(self.new_optimizer())

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Let changed optimiser options beat the checkpoint's."""
        super().on_load_checkpoint(checkpoint)
        prefer_options(checkpoint, self.new_optimizer())

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
        """Start a new count."""
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
