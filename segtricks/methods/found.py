"""FOUND: a 1x1 convolution learns the complement of the background that a ViT's attention points out."""

from typing import Any, ClassVar

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, interpolate

from segtricks.backbones.affinity import affinity_of
from segtricks.backbones.keys_and_attention import KeysAndAttention
from segtricks.data.transforms import denormalize
from segtricks.discovery import found_background
from segtricks.heads import FoundHead
from segtricks.losses import share_of
from segtricks.methods.base import PLAIN, REFINED, SegmentationModule
from segtricks.methods.trainable import Trainable
from segtricks.metrics import get_protocol
from segtricks.refine import BILATERAL_PRESETS, GuidedFilter
from segtricks.refine.components import fill_holes


class Found(Trainable, SegmentationModule):
    """Train a :class:`segtricks.heads.FoundHead` on frozen keys, without labels.

    In every step the head is drawn to its own mask refined by the bilateral solver; in the first
    ``background_steps`` also to the refined complement of :func:`segtricks.discovery.found_background`, and from then
    on to its own mask. All losses are binary cross-entropies over the patches.

    Args:
        backbone: name of the frozen network, a ViT with a class token.
        pretrained: load its published weights.
        backbone_checkpoint: a local file with its weights, instead of the download.
        threshold: cosine with the background's seed above which a patch is background, or share:X of each image's pairs
            of weighted features; left out, the backbone's own.
        background_steps: steps that see the background's complement.
        solver_weight: factor of the refined own mask.
        self_weight: factor of the own mask.
        refiner: window and borders of the guided filter in ``test`` and ``predict``.
        guided_filter: filter predictions.
        optimizer: any torch optimiser; left out, AdamW with lr 0.05.
        lr_scheduler: any torch schedule, stepped once a training step; left out, × 0.95 every 50 steps.
        protocol: how ``test`` scores; unless it says ``select``, boxes are those of the component of most pixels.
        seed: unused, the steps draw nothing.

    Source: Siméoni et al., "Unsupervised Object Localization: Observing the Background to Discover Objects", CVPR 2023,
    section 3.2.
    """

    default_optimizer: ClassVar = {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.05}}
    training_options: ClassVar = (
        *Trainable.training_options,
        *("threshold", "background_steps", "solver_weight", "self_weight"),
    )
    exportable = True
    loss_names = ("solver", "background", "loss")

    def __init__(
        self,
        backbone: str = "dino_vits8",
        pretrained: bool = True,
        backbone_checkpoint: str | None = None,
        threshold: float | str | None = None,
        background_steps: int = 100,
        solver_weight: float = 1.5,
        self_weight: float = 4.0,
        refiner: GuidedFilter = GuidedFilter(),  # noqa: B008 - frozen
        guided_filter: bool = False,
        optimizer: OptimizerCallable | None = None,
        lr_scheduler: LRSchedulerCallable | None = None,
        protocol: str = "fullres",
        seed: int = 0,
    ) -> None:
        super().__init__(protocol, refiner)
        self.protocol = get_protocol(protocol, select="largest_area")
        self.backbone = KeysAndAttention(backbone, pretrained, backbone_checkpoint)
        self.head = FoundHead(self.backbone.feature_dim)
        self.threshold = affinity_of(backbone, "found").tau if threshold is None else threshold
        share_of(self.threshold)  # out of its range, it is refused before anything is trained
        self.background_steps = background_steps
        self.solver_weight, self.self_weight = solver_weight, self_weight
        self.predicted_row = REFINED if guided_filter else PLAIN
        self.make_scheduler = lr_scheduler
        self.use_optimizer(optimizer)

    def soft_masks(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) to foreground probabilities (B, 1, H, W), float32."""
        keys, _ = self.backbone(images)
        return interpolate(self.head(keys).float().sigmoid(), size=images.shape[-2:], mode="bilinear")

    def loss_terms(self, images: Tensor, background: bool) -> tuple[dict[str, Tensor], Tensor]:
        """Return the weighted loss terms and the logits (B, 1, h, w) of normalised images (B, 3, H, W)."""
        keys, attention = self.backbone(images)
        logits = self.head(keys).float()
        own, rgb01 = (logits.detach() > 0).float(), denormalize(images)
        terms = {"solver": self.solver_weight * binary_cross_entropy_with_logits(logits, refined_target(own, rgb01))}
        if background:
            target = refined_target(found_background(keys, attention, self.threshold).mask, rgb01)
            terms["background"] = binary_cross_entropy_with_logits(logits, target)
        else:
            terms["self"] = self.self_weight * binary_cross_entropy_with_logits(logits, own)
        return terms, logits

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor | None:
        """Return the objective of a batch of normalised images; masks are never read."""
        if len(batch["image"]) == 0:
            return self.no_loss()
        terms, logits = self.loss_terms(batch["image"], self.global_step < self.background_steps)
        self.last_share = (logits.detach() > 0).float().mean()
        loss = torch.stack(list(terms.values())).sum()
        self.log_step(loss, terms, batch["path"])
        return loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor | None:
        """Log the objective of the first steps on held-out images, the same at all times; return their masks."""
        if len(batch["image"]) == 0:
            self.log_held_out({}, 0)
            return None
        terms, logits = self.loss_terms(batch["image"], background=True)
        terms["loss"] = torch.stack(list(terms.values())).sum()
        self.log_held_out(terms, len(batch["image"]))
        return interpolate(logits.sigmoid(), size=batch["image"].shape[-2:], mode="bilinear")

    def configure_optimizers(self) -> Any:
        """Return the optimiser of the head and its schedule, stepped every training step."""
        optimizer = self.new_optimizer()
        if self.make_scheduler is not None:
            scheduler = self.make_scheduler(optimizer)
        else:
            scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 50, 0.95)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


@torch.no_grad()
def refined_target(mask: Tensor, rgb01: Tensor) -> Tensor:
    """Fit masks (B, 1, h, w) of 0 and 1 to the edges of their images (B, 3, H, W), and bring them back to the patches.

    The bilateral solver (16/16/8) with holes filled; where its result has an IoU of at most one half with the mask,
    the mask stays. A patch is foreground if any of the pixels next to its centre is.
    """
    large = interpolate(mask, size=rgb01.shape[-2:], mode="bilinear")
    solved = fill_holes(BILATERAL_PRESETS["tokencut"](large, rgb01) > 0.5)
    coarse = large > 0.5
    both, either = ((coarse & solved).flatten(1).sum(1), (coarse | solved).flatten(1).sum(1))
    small = (interpolate(solved.float(), size=mask.shape[-2:], mode="bilinear") > 0).float()
    return torch.where((2 * both > either)[:, None, None, None], small, mask)
