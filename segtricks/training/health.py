"""The health of a run: speed and memory each epoch, collapsed masks and dead loss terms, each reported once."""

import logging
import sys
import time
from typing import Any, Literal

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from segtricks.errors import UserError
from segtricks.losses import Graph

STEPS = 50
"""Training steps after which a cut that is still where it began is stuck."""
MOVED = 0.002
"""Change of the cut, which lies between 0 and 2, that counts as movement."""
BATCHES = 100
"""Training batches in a row without a border in any mask that count as a collapse."""
PASSES = 2
"""The same in whole passes over the held-out images."""
LOOKS = 10
"""Looks in a row, ``BATCHES`` steps apart at least, at which a loss term has the very same value: it is dead."""
_EMPTY, _FULL = 0.001, 0.999

_AGAIN = "train again with another --model.tau, --model.feature or learning rate; this run has learned nothing"

log = logging.getLogger(__name__)


class Health(Callback):
    """Log ``health/images_per_s``, ``health/memory_mb`` and, on a GPU, ``health/gpu_memory_mb`` once an epoch.

    Images a second of all processes, validation left out; the largest resident memory of the main process so far, in
    MiB, and the largest that tensors took on its GPU in the epoch.

    Collapse: no foreground, or nothing else, in every mask of ``BATCHES`` training batches in a row (of modules that
    keep ``last_share``, the share of their last batch as a tensor) or of ``PASSES`` validations. Dead: a ``train/…``
    term that had one and the same value, zero or not, at ``LOOKS`` looks in a row. Whether the loss is a number,
    methods see to themselves (:mod:`segtricks.training.finite`).

    Degenerate: a module whose ``graph`` of a sample of photographs has more than 95 % of the pairs of patches on one
    side of the threshold; found before the first step. Stuck: a module whose ``last_cut`` (a tensor, the normalized cut
    of its last batch) has moved by less than ``MOVED`` over all of its first steps, at least ``STEPS``.

    The host waits for the device only at the steps that are logged, where it waits anyway.

    Args:
        on_collapse: ``warn`` reports it once and goes on; ``stop`` ends the run.
    """

    def __init__(self, on_collapse: Literal["warn", "stop"] = "warn") -> None:
        self.on_collapse = on_collapse
        self._said: set[str] = set()
        self._uniform: Tensor | None = None  # batches in a row, on the device
        self._passes, self._images = 0, 0
        self._shares: list[Tensor] = []
        self._seconds = self._since = 0.0
        self.advice: str | None = None
        """What to type instead of going on with the run; None while it is well."""
        self._cut: tuple[Tensor, Tensor] | None = None  # lowest and highest so far, on the device
        self._judged_cut, self._first = False, 0
        self._terms: dict[str, tuple[Tensor, float, int, int]] = {}  # last tensor, its value, looks, first step

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Say that the graph of patches has nothing to cut."""
        self._first = trainer.global_step
        self._start_clock()  # an epoch that is resumed in its middle does not start
        graph = getattr(module, "graph", None)
        if isinstance(graph, Graph) and graph.degenerate:
            text = f"{graph}: such a graph has nothing to cut, and no mask can be learned."
            self._say(trainer, "graph", f"{text}\n{_rethink(module)}")

    def on_train_epoch_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Start the clock."""
        self._start_clock()
        if module.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(module.device)

    def _start_clock(self) -> None:
        self._images, self._seconds, self._since = 0, 0.0, time.perf_counter()

    def on_validation_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Stop the clock."""
        self._seconds += time.perf_counter() - self._since
        self._shares = []

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Let the clock go on."""
        self._since = time.perf_counter()

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count images and batches without a border, on the device; look at them where the step is logged."""
        self._images += len(batch["image"])
        share = getattr(module, "last_share", None)
        if isinstance(share, Tensor) and len(batch["image"]):
            before = torch.zeros((), device=share.device) if self._uniform is None else self._uniform
            self._uniform = torch.where(_is_uniform(share), before + 1, 0)
        self._follow_cut(module)
        if trainer.global_step % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            if self._uniform is not None:
                self._judge(trainer, int(self._uniform) >= BATCHES, f"the last {BATCHES} training batches")
            self._look_at_terms(trainer)
            self._look_at_cut(trainer, module)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the share of foreground of each held-out image."""
        if isinstance(outputs, Tensor) and not trainer.sanity_checking:
            self._shares.append((outputs > 0.5).float().mean((1, 2, 3)))

    def on_validation_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Judge the masks of the held-out images."""
        if self._shares and trainer.state.fn == "fit":
            uniform = bool(_is_uniform(torch.cat(self._shares)).all())
            self._passes = self._passes + 1 if uniform else 0
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._judge(trainer, self._passes >= PASSES, f"all held-out images in {PASSES} validations")

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Log speed and memory."""
        seconds = self._seconds + time.perf_counter() - self._since
        module.log("health/images_per_s", self._images * trainer.world_size / max(seconds, 1e-9), prog_bar=True)
        module.log("health/memory_mb", peak_memory_mb())
        if module.device.type == "cuda":
            module.log("health/gpu_memory_mb", torch.cuda.max_memory_allocated(module.device) / 2**20)

    def _judge(self, trainer: Trainer, collapsed: bool, where: str) -> None:
        # Of all processes alike: one that stops alone would leave the others waiting for it.
        if trainer.strategy.reduce_boolean_decision(collapsed, all=True):
            self._say(
                trainer,
                "collapse",
                f"The masks of {where} are all foreground or all background: the run has collapsed.\n"
                "Likely the learning rate is too large, or the backbone's features say too little about these images: "
                "try --model.optimizer.lr at a tenth, other --model.weights, or another --model.backbone.",
            )

    def _look_at_terms(self, trainer: Trainer) -> None:
        fresh = {}
        for name, value in trainer.callback_metrics.items():
            # Lightning keeps the tensors of what was not logged since; such a term is over, not dead.
            if name.startswith("train/") and not self._is_old(name, value):
                fresh[name] = value
        values = torch.stack([value.float() for value in fresh.values()]).tolist() if fresh else []
        for (name, tensor), value in zip(fresh.items(), values, strict=True):
            _, before, looks, first = self._terms.get(name, (tensor, value, 0, trainer.global_step))
            if value != before:
                looks, first = 0, trainer.global_step
            self._terms[name] = tensor, value, looks + 1, first
            dead = looks + 1 >= LOOKS and trainer.global_step - first >= BATCHES
            if trainer.strategy.reduce_boolean_decision(dead, all=True):
                self._say(
                    trainer,
                    name,
                    f"{name} was exactly {value:g} whenever it was logged since step {first}: it teaches nothing.\n"
                    "Likely the masks or features are constant, or one of its options is out of range: look at "
                    "figures/validation.png, and try other --model.weights, --model.tau or --model.sigma.",
                )

    def _follow_cut(self, module: LightningModule) -> None:
        """Keep the lowest and highest cut so far, on the device."""
        cut = getattr(module, "last_cut", None)
        if self._judged_cut or not isinstance(cut, Tensor):
            return
        low, high = self._cut or (cut, cut)
        self._cut = torch.minimum(low, cut), torch.maximum(high, cut)

    def _look_at_cut(self, trainer: Trainer, module: LightningModule) -> None:
        """Say once that the cut has not moved in all steps so far."""
        if self._judged_cut or self._cut is None or trainer.global_step - self._first < STEPS:
            return
        self._judged_cut = True
        low, high = (float(bound) for bound in self._cut)
        # A resumed run may have converged.
        stuck = self._first == 0 and high - low < MOVED
        if trainer.strategy.reduce_boolean_decision(stuck, all=True):
            graph = getattr(module, "graph", None)
            about = f" {graph}." if isinstance(graph, Graph) else ""
            self._say(
                trainer, "stuck", f"The normalized cut has been {low:.4f} since step 0.{about}\n{_rethink(module)}"
            )

    def _is_old(self, name: str, value: Tensor) -> bool:
        return name in self._terms and self._terms[name][0].data_ptr() == value.data_ptr()

    def _say(self, trainer: Trainer, key: str, text: str) -> None:
        if self.on_collapse == "stop":
            raise UserError(f"Stopped at step {trainer.global_step}. {text}")
        if key not in self._said and trainer.is_global_zero:
            log.warning("step %d: %s", trainer.global_step, text)
        self._said.add(key)
        if not key.startswith("train/"):
            self.advice = _AGAIN


def _rethink(module: LightningModule) -> str:
    other = "share:0.4" if getattr(module, "tau", None) == "share:0.6" else "share:0.6"
    return f"Next: --model.tau {other}, another --model.feature, or a larger --model.optimizer.lr."


def peak_memory_mb() -> float:
    """Largest resident memory of this process so far, in MiB; nan where the system does not report it."""
    try:
        import resource
    except ImportError:  # Windows
        return float("nan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def _is_uniform(share: Tensor) -> Tensor:
    return (share < _EMPTY) | (share > _FULL)
