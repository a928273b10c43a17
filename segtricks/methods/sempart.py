"""Sempart with multi-scale consistency and guided filtering: one network, its loss stack and its training step."""

import logging
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from segtricks.backbones import create_backbone
from segtricks.backbones.affinity import affinity_of
from segtricks.data.transforms import denormalize
from segtricks.errors import UserError
from segtricks.heads import SempartHead, SempartOutput
from segtricks.heads.sempart import fast_format
from segtricks.losses import (
    Graph,
    feature_tv_loss,
    image_tv_loss,
    measure_graph,
    multiscale_consistency_loss,
    normalized_cut_loss,
    self_consistency_loss,
    share_of,
)
from segtricks.methods.base import PLAIN, REFINED, SegmentationModule
from segtricks.methods.crops import crop_and_enlarge, random_corners
from segtricks.methods.foreground import ForegroundSign
from segtricks.methods.trainable import Trainable
from segtricks.refine import GuidedFilter
from segtricks.training.moving_average import MovingAverage
from segtricks.training.resuming import total_steps

Networks = tuple[
    Callable[[Tensor], Tensor], Callable[[Tensor], tuple[Tensor, Tensor]], Callable[[Tensor, Tensor], Tensor]
]


@dataclass(frozen=True)
class LossWeights:
    """Factors of the six loss terms; the total is their weighted sum.

    Args:
        ncut: normalized cut of the coarse mask.
        self_consistency: coarse mask against the reduced fine mask.
        image_tv: total variation of the fine mask, weighted by colour.
        feature_tv: total variation of the coarse mask, weighted by features.
        consistency: student's crop against the teacher's mask of the enlarged crop.
        ncut_crop: normalized cut of the crop's coarse mask.
    """

    ncut: float = 1.0
    self_consistency: float = 1.0
    image_tv: float = 1.0
    feature_tv: float = 1.0
    consistency: float = 0.01
    ncut_crop: float = 0.01


log = logging.getLogger(__name__)

_FORMER_TAU = 0.4  # of every backbone, before it was measured
_SAMPLED, _LOOKED_AT, _BATCH = 32, 8, 8
"""Training photographs whose pairs settle a share, or are looked at for a given threshold; as many at a time."""


class Sempart(Trainable, SegmentationModule):
    """Train a :class:`SempartHead` on a frozen backbone, without labels.

    Args:
        backbone: name of the frozen network (``segtricks.backbones.create_backbone``).
        pretrained: load its published weights.
        backbone_checkpoint: a local file with its weights, instead of the download.
        feature: key, query, value or token; left out, the backbone's own.
        layer: block whose features are taken, -1 is the last; left out, the backbone's own.
        pos_interp: position embeddings resized as dino or as timm does.
        crop: trick 2, multi-scale consistency with an enlarged random crop.
        guided_filter: trick 1, filter the teacher's mask, and predictions.
        teacher: ``shared`` is the student without gradient; ``ema`` its moving average.
        ema_decay: decay of the moving average, per step.
        crop_fraction: side of the crop as a share of the image's.
        refiner: window and borders of the guided filter.
        refine_at: filter predictions at the model's or at the full resolution.
        bilateral_preset: also test the mask refined by the bilateral solver, with these cell sizes: two-tricks 24/4/4,
            tokencut 16/16/8.
        weights: factors of the loss terms.
        tau: threshold of the affinity, a cosine; or share:X, the cosine above which a share X of all pairs of patches
            lies in a sample of the training photographs, taken when training starts; left out, the backbone's own.
        eps: affinity below the threshold.
        sigma: colour scale of the total variation.
        hidden_dim: channels of the head's transformer.
        fine: predict the fine mask from the image. Without, it is the coarse mask enlarged, its borders left to the
            guided filter, and training is several times as fast (``configs/quick.yaml``).
        optimizer: any torch optimiser; left out, AdamW with lr 1e-4, betas (0.9, 0.99) and no weight decay.
        lr_scheduler: any torch schedule, stepped once an epoch.
        schedule: of the learning rate where no lr_scheduler is given: constant, or falling to 0 at the last step along
            half a cosine, however many photographs there are.
        compile: torch.compile the networks for training; takes a minute at the start and gains nothing on a CPU.
        protocol: how ``test`` scores.
        seed: draws the crops; a run's ``seed_everything``.

    Source: Sari, Locatello and Favaro, arXiv 2404.03392.
    """

    default_optimizer: ClassVar = {
        "class_path": "torch.optim.AdamW",
        "init_args": {"lr": 1e-4, "betas": [0.9, 0.99], "weight_decay": 0.0},
    }
    training_options: ClassVar = (
        *Trainable.training_options,
        *("crop", "teacher", "ema_decay", "crop_fraction", "weights", "tau", "eps", "sigma", "schedule"),
    )
    exportable = True
    head: SempartHead

    def __init__(
        self,
        backbone: str = "dino_vits8",
        pretrained: bool = True,
        backbone_checkpoint: str | None = None,
        feature: Literal["key", "query", "value", "token"] | None = None,
        layer: int | None = None,
        pos_interp: Literal["dino", "timm"] = "dino",
        crop: bool = True,
        guided_filter: bool = True,
        teacher: Literal["shared", "ema"] = "shared",
        ema_decay: float = 0.999,
        crop_fraction: float = 0.5,
        refiner: GuidedFilter = GuidedFilter(),  # noqa: B008 - frozen
        refine_at: Literal["model", "full"] = "model",
        bilateral_preset: Literal["two-tricks", "tokencut"] | None = None,
        weights: LossWeights = LossWeights(),
        tau: float | str | None = None,
        eps: float = 1e-6,
        sigma: float = 1.0,
        hidden_dim: int = 64,
        fine: bool = True,
        optimizer: OptimizerCallable | None = None,
        lr_scheduler: LRSchedulerCallable | None = None,
        schedule: Literal["constant", "cosine"] = "constant",
        compile: bool = False,
        protocol: str = "fullres",
        seed: int = 0,
    ) -> None:
        super().__init__(protocol, refiner, refine_at, bilateral_preset)
        if not 0 < crop_fraction <= 1:
            raise UserError(f"model.crop_fraction must be above 0 and at most 1, got {crop_fraction}.")
        if not 0 <= ema_decay < 1:
            raise UserError(f"model.ema_decay must be at least 0 and below 1, got {ema_decay}.")
        if teacher not in ("shared", "ema"):
            raise UserError(f"model.teacher must be shared or ema, got {teacher!r}.")
        if not (sigma > 0 and eps >= 0):
            raise UserError(f"model.sigma must be above 0 and model.eps at least 0, got {sigma} and {eps}.")
        if schedule == "cosine" and lr_scheduler is not None:
            raise UserError("model.schedule cosine and model.lr_scheduler are two schedules: leave out one of them.")
        own = affinity_of(backbone, "sempart", feature, layer)
        self.feature, self.layer = own.feature, own.layer
        self.backbone = create_backbone(
            backbone, pretrained, backbone_checkpoint, own.feature, own.layer, pos_interp=pos_interp
        )
        self.head = SempartHead(self.backbone.feature_dim, self.backbone.patch_size, hidden_dim, fine=fine)
        self.head.to(memory_format=fast_format(torch.device("cpu")))
        self.ema: MovingAverage | None = None
        if crop and teacher == "ema":
            self.ema = MovingAverage(self.head, ema_decay)
        self.crop, self.guided_filter = crop, guided_filter
        self.predicted_row = REFINED if guided_filter else PLAIN
        self.crop_fraction, self.weights = crop_fraction, weights
        self.loss_names = tuple(name for name in asdict(weights) if crop or name not in ("consistency", "ncut_crop"))
        self.loss_names += ("loss",)
        self.own_weights: dict[str, float] = {}
        """Factors of the loss terms that a subclass adds."""
        self.tau, self.eps, self.sigma = self.backbone.tau if tau is None else tau, eps, sigma
        self.tau_is_given = tau is not None
        self.affinity_threshold: float | None = None if share_of(self.tau) is not None else float(self.tau)
        """The cosine that training compares with; of a share, None until a sample of photographs was seen."""
        self.graph: Graph | None = None
        """What the threshold made of the sample of photographs at the start of training."""
        self.sign = ForegroundSign()
        self.make_scheduler, self.schedule, self.seed = lr_scheduler, schedule, seed
        self.compile_networks = compile
        self._compiled: Networks | None = None
        self.use_optimizer(optimizer)

    def forward(self, images: Tensor) -> SempartOutput:
        """Normalised images (B, 3, H, W) to logits ``fine`` (B, 1, H, W) and ``coarse`` (B, 1, h, w)."""
        output: SempartOutput = self.head(self.backbone(images), images)
        return output

    def soft_masks(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) to foreground probabilities (B, 1, H, W), float32."""
        return self.sign.orient(self(images).fine.float().sigmoid())

    def loss_terms(self, images: Tensor, generator: torch.Generator) -> tuple[dict[str, Tensor], Tensor]:
        """Return every loss term, unweighted, and the fine probabilities (B, 1, H, W) of normalised images.

        The probabilities are the head's own, whose foreground may be the background: see :attr:`sign`.
        """
        images = images.contiguous(memory_format=fast_format(images.device))
        views, (extract, encode, decode) = images, self.networks()
        if self.crop:
            height, width = images.shape[-2:]
            crop = (max(1, round(height * self.crop_fraction)), max(1, round(width * self.crop_fraction)))
            corners = random_corners(len(images), (height, width), crop, generator)
            views = torch.cat([images, crop_and_enlarge(images, corners, crop)])
        features, *crop_features = extract(views).split(len(images))
        tau = self._threshold(features)
        grid, coarse = encode(features)
        fine, coarse = decode(grid, images).float().sigmoid(), coarse.float().sigmoid()
        terms = {
            "ncut": normalized_cut_loss(features, coarse, tau, self.eps),
            "self_consistency": self_consistency_loss(coarse, fine),
            "image_tv": image_tv_loss(images, fine, self.sigma),
            "feature_tv": feature_tv_loss(features, coarse, tau, self.eps),
        }
        if self.crop:
            crops, student = views[len(images) :], crop_and_enlarge(fine, corners, crop)
            grid, crop_coarse = encode(crop_features[0])
            teacher = self._teacher_mask(crop_features[0], grid, crops)
            crop_coarse = crop_coarse.float().sigmoid()
            terms["consistency"] = multiscale_consistency_loss(student, teacher)
            terms["ncut_crop"] = normalized_cut_loss(crop_features[0], crop_coarse, tau, self.eps)
        return terms, fine

    def _threshold(self, features: Tensor) -> float:
        """The threshold as a cosine; of a share, settled by these features (B, D, h, w) unless it is already."""
        if self.affinity_threshold is None:
            self.graph = measure_graph(list(features), self.tau)
            self.affinity_threshold = self.graph.tau
        return self.affinity_threshold

    def on_fit_start(self) -> None:
        """Look at the graph of a sample of the training photographs; settle a threshold that is a share of its pairs.

        A resumed run keeps the threshold of its checkpoint.

        Raises:
            UserError: the backbone's features are not finite.
        """
        known = self.affinity_threshold
        images = self.training_sample(_LOOKED_AT if known is not None else _SAMPLED)
        if not len(images):
            return
        with self.trainer.precision_plugin.forward_context():
            features = [feature for batch in images.split(_BATCH) for feature in self.backbone(batch.to(self.device))]
        self.graph = measure_graph(features, self.tau if known is None else known)
        self.affinity_threshold = self.graph.tau

    @torch.no_grad()
    def _teacher_mask(self, features: Tensor, grid: Tensor, crops: Tensor) -> Tensor:
        logits = self.networks()[2](grid.detach(), crops) if self.ema is None else self.ema(features, crops).fine
        mask = logits.float().sigmoid()
        return self.refiner(mask, denormalize(crops)) if self.guided_filter else mask

    def networks(self) -> Networks:
        """Return what a training step calls: images to features, features to (grid, coarse), (grid, image) to fine.

        Compiled if asked for. Test and predict, whose images are of many sizes, never compile.
        """
        if not self.compile_networks:
            return self.backbone, self.head.encode, self.head.decode
        if self._compiled is None:
            extract, encode, decode = self.backbone, self.head.encode, self.head.decode
            self._compiled = torch.compile(extract), torch.compile(encode), torch.compile(decode)
        return self._compiled

    def total(self, terms: dict[str, Tensor]) -> Tensor:
        """Return the weighted sum of the terms.

        Raises:
            UserError: a term of a subclass has no weight.
        """
        weights = asdict(self.weights) | self.own_weights
        if unknown := [name for name in terms if name not in weights]:
            raise UserError(
                f"The loss term {unknown[0]} of {type(self).__name__} has no weight.\n"
                f'Next: in its __init__, self.own_weights["{unknown[0]}"] = 0.1, and add the name to self.loss_names.'
            )
        return torch.stack([weights[name] * term for name, term in terms.items()]).sum()

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor | None:
        """Return the objective of a batch of normalised images; masks are never read."""
        if len(batch["image"]) == 0:
            return self.no_loss()
        terms, fine = self.loss_terms(batch["image"], self._generator(self.global_step))
        self.last_share = (fine.detach() > 0.5).float().mean()
        self.last_cut = terms["ncut"].detach()
        self.sign.count(fine.detach())
        loss = self.total(terms)
        self.log_step(loss, terms, batch["path"])
        return loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor | None:
        """Log the objective on held-out training images; return their foreground for the pictures."""
        if len(batch["image"]) == 0:
            self.log_held_out({}, 0)
            return None
        terms, fine = self.loss_terms(batch["image"], self._generator(batch_idx))
        self.log_held_out(terms | {"loss": self.total(terms)}, len(batch["image"]))
        return self.sign.orient(fine)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, then move the averaged teacher."""
        super().optimizer_step(*args, **kwargs)
        if self.ema is not None:
            self.ema.update_parameters(self.head)

    def configure_optimizers(self) -> Any:
        """Return the optimiser of the head, with its schedule if there is one."""
        optimizer = self.new_optimizer()
        _fuse(optimizer)
        if self.make_scheduler is not None:
            return [optimizer], [self.make_scheduler(optimizer)]
        if self.schedule == "constant":
            return optimizer
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self._steps())
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _steps(self) -> int:
        """Steps of the whole training.

        Raises:
            UserError: it has no end.
        """
        steps = total_steps(self.trainer)
        if steps == math.inf:
            raise UserError(
                "model.schedule cosine falls to 0 at the last step, and this training has none.\n"
                "Next: pass --trainer.max_epochs or --trainer.max_steps."
            )
        return int(steps)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the threshold."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["tau"], checkpoint["affinity_threshold"] = self.tau, self.affinity_threshold

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check that the network is the same.

        The cosine that a share has become is the checkpoint's, unless the share was changed. A checkpoint without a
        sign gets the module's own.
        """
        super().on_load_checkpoint(checkpoint)
        checkpoint["state_dict"].setdefault("sign.votes", self.sign.votes)
        if share_of(self.tau) is None:
            return
        if "tau" not in checkpoint and not self.tau_is_given:
            self.affinity_threshold = _FORMER_TAU
            log.warning("This checkpoint is of before tau could be a share: it keeps tau %s.", _FORMER_TAU)
        elif checkpoint.get("tau") == self.tau:
            self.affinity_threshold = checkpoint["affinity_threshold"]

    def identity(self) -> dict[str, Any]:
        """Return what a checkpoint must share with this module to be loaded."""
        teacher = "shared" if self.ema is None else "ema"
        own: dict[str, Any] = {
            "patch_size": self.backbone.patch_size,
            "hidden_dim": self.head.hidden_dim,
            "teacher": teacher,
        }
        own["fine"] = self.head.fine is not None
        return super().identity() | own | {"feature": self.feature, "layer": self.layer}

    def _generator(self, step: int) -> torch.Generator:
        """A stream of its own per seed, step and rank: a resumed run draws the crops that it would have drawn."""
        stream = (self.seed * 1_000_003 + step) * 4_099 + self.global_rank
        return torch.Generator().manual_seed(stream % 2**63)


def _fuse(optimizer: torch.optim.Optimizer) -> None:
    """Update all parameters in one kernel where the optimiser can and the user chose nothing else.

    As an option of its own, ``fused=True`` makes Lightning refuse to clip gradients in mixed precision.
    """
    for group in optimizer.param_groups:
        chosen = any(group.get(option) is not None for option in ("fused", "foreach"))
        if "fused" in group and not chosen and not group.get("differentiable"):
            group["fused"] = all(parameter.device.type in ("cpu", "cuda") for parameter in group["params"]) or None
