"""SelfMask: a network that learns the pseudo-masks of any other method."""

import logging
from collections.abc import Iterable
from typing import Any, ClassVar, Literal

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor

from segtricks.backbones import create_backbone
from segtricks.backbones.padding import pad_to_patches
from segtricks.backbones.registry import last_feature
from segtricks.data.sample import TargetKind
from segtricks.data.transforms import fit_short_side, to_input
from segtricks.errors import UserError
from segtricks.heads import SelfMaskHead, SelfMaskOutput, select_query
from segtricks.losses import RankingOrder, SelfMaskLoss, selfmask_loss
from segtricks.methods.base import PLAIN, REFINED, SegmentationModule
from segtricks.methods.trainable import Trainable
from segtricks.refine import GuidedFilter
from segtricks.training.resuming import total_steps

_HEAD_WIDTH = 64  # channels of an attention head
log = logging.getLogger(__name__)


class SelfMask(Trainable, SegmentationModule):
    """Train a :class:`segtricks.heads.SelfMaskHead` and its encoder on one pseudo-mask for each photograph.

    All queries of all decoder layers learn the same mask, and their objectness learns which of them is best. Test and
    predict look at photographs at their own size and take the best query of the last layer.

    Args:
        backbone: name of the encoder (``segtricks.backbones.create_backbone``).
        pretrained: start from its published weights.
        backbone_checkpoint: a local file with its weights, instead of the download.
        pos_interp: position embeddings resized as selfmask, dino or timm does.
        trained_blocks: train only so many of the encoder's last blocks, 0 for none; left out, the whole encoder.
        num_queries: masks of each decoder layer.
        num_layers: decoder layers.
        ranking: better_higher lets better masks score higher; published_code has the order of the released code, which
            is reversed.
        schedule: poly lowers the learning rate by (1 - t / T) ** 0.9 over all T steps; constant comes closest to what
            the released code does.
        longest_side: photographs above this many pixels are shrunk to it in test and predict; 0 takes the data's own
            size (``data.test_size``, or else ``data.size``).
        refiner: window and borders of the guided filter in ``test`` and ``predict``.
        guided_filter: filter predictions.
        bilateral_preset: also test the mask refined by the bilateral solver, with these cell sizes: two-tricks 24/4/4,
            tokencut 16/16/8.
        optimizer: any torch optimiser; left out, AdamW with lr 6e-6 and weight decay 0.01.
        protocol: how ``test`` scores.
        seed: unused, the steps draw nothing.

    Source: Shin, Albanie and Xie, "Unsupervised Salient Object Detection with Spectral Cluster Voting", CVPRW 2022.
    """

    default_optimizer: ClassVar = {
        "class_path": "torch.optim.AdamW",
        "init_args": {"lr": 6e-6, "betas": [0.9, 0.999], "weight_decay": 0.01},
    }
    training_options: ClassVar = (*Trainable.training_options, "ranking", "schedule")
    exportable = True
    loss_names = (*SelfMaskLoss._fields[1:], "loss")
    target_kind: ClassVar[TargetKind | None] = "mask"

    def __init__(
        self,
        backbone: str = "dino_vits8",
        pretrained: bool = True,
        backbone_checkpoint: str | None = None,
        pos_interp: Literal["selfmask", "dino", "timm"] = "selfmask",
        trained_blocks: int | None = None,
        num_queries: int = 20,
        num_layers: int = 6,
        ranking: RankingOrder = "better_higher",
        schedule: Literal["poly", "constant"] = "poly",
        longest_side: int = 640,
        refiner: GuidedFilter = GuidedFilter(),  # noqa: B008 - frozen
        guided_filter: bool = False,
        bilateral_preset: Literal["two-tricks", "tokencut"] | None = None,
        optimizer: OptimizerCallable | None = None,
        protocol: str = "fullres",
        seed: int = 0,
    ) -> None:
        super().__init__(protocol, refiner, bilateral_preset=bilateral_preset)
        if min(num_queries, num_layers) < 1 or longest_side < 0:
            raise UserError(
                "model.num_queries and model.num_layers must be at least 1 and model.longest_side at least 0, got "
                f"{num_queries}, {num_layers} and {longest_side}."
            )
        self.backbone = create_backbone(
            backbone, pretrained, backbone_checkpoint, last_feature(backbone), pos_interp=pos_interp
        )
        if trained_blocks != 0:
            self.backbone.thaw(trained_blocks)
        width = self.backbone.feature_dim
        heads = width // _HEAD_WIDTH if width % _HEAD_WIDTH == 0 else 1
        self.head = SelfMaskHead(width, num_queries, num_layers, heads)
        self.ranking, self.schedule, self.longest_side = ranking, schedule, longest_side
        self.predicted_row = REFINED if guided_filter else PLAIN
        self._empty, self._without_mask = 0, set[str]()
        self.use_optimizer(optimizer)

    def forward(self, images: Tensor) -> SelfMaskOutput:
        """Normalised images (B, 3, H, W) of any size, padded to whole patches, to logits of masks and objectness."""
        output: SelfMaskOutput = self.head(self.backbone(pad_to_patches(images, self.backbone.patch_size)))
        return SelfMaskOutput(output.masks.float(), output.objectness.float())

    def soft_masks(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) to foreground probabilities (B, 1, H, W), float32."""
        masks, objectness = self(images)
        return self._best(masks.sigmoid(), objectness, images)

    def _best(self, masks: Tensor, objectness: Tensor, images: Tensor) -> Tensor:
        scale = self.backbone.patch_size / self.head.upsample
        return select_query(masks[:, -1], objectness[:, -1], scale, (images.shape[-2], images.shape[-1]))

    def losses(self, images: Tensor, target: Tensor) -> tuple[SelfMaskLoss, Tensor]:
        """Return the losses, and the foreground probabilities (B, 1, H, W) without gradient.

        Args:
            images: (B, 3, H, W), normalised.
            target: (B, 1, H, W) of 0 and 1.
        """
        output = self(images)
        masks, objectness = output.masks.sigmoid(), output.objectness.sigmoid()
        target = pad_to_patches(target, self.backbone.patch_size)
        return selfmask_loss(masks, objectness, target, self.ranking), self._best(masks.detach(), objectness, images)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor | None:
        """Return the objective of a batch of normalised images and their pseudo-masks."""
        self._empty += batch.get("empty", 0)
        self._name(batch.get("without_mask", ()))
        if len(batch["image"]) == 0:
            return self.no_loss()
        losses, prob = self.losses(batch["image"], batch["target"])
        self.last_share = (prob > 0.5).float().mean()
        self.log_step(losses.total, {"dice": losses.dice, "ranking": losses.ranking}, batch["path"])
        return losses.total

    def _name(self, paths: Iterable[str]) -> None:
        """Warn of each photograph without a mask to learn, once."""
        for path in paths:
            if path not in self._without_mask:
                self._without_mask.add(path)
                log.warning("left out %s: its mask is empty or full", path)

    def on_train_epoch_end(self) -> None:
        """Log how many photographs were left out: without a mask, or with none of it in the part that was cut out."""
        super().on_train_epoch_end()
        self.log("health/empty_targets", float(self._empty), sync_dist=True, reduce_fx="sum")
        self._empty = 0

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor | None:
        """Log the objective on held-out training images and their pseudo-masks; return what is predicted."""
        self._name(batch.get("without_mask", ()))
        if len(batch["image"]) == 0:
            self.log_held_out({}, 0)
            return None
        losses, prob = self.losses(batch["image"], batch["target"])
        terms = {"dice": losses.dice, "ranking": losses.ranking, "loss": losses.total}
        self.log_held_out(terms, len(batch["image"]))
        return prob

    def configure_optimizers(self) -> Any:
        """Return the optimiser of encoder and head with its schedule, stepped every training step."""
        optimizer = self.new_optimizer()
        if self.schedule == "constant":
            return optimizer
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, self._factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _factor(self, step: int) -> float:
        # The number of steps is known once the loaders are there, which a resumed run must not make before its state.
        return poly_factor(step, total_steps(self.trainer)) if step else 1.0

    def _masks_at(self, batch: dict[str, Any], *args: Any, **options: Any) -> dict[str, list[Tensor]]:
        if self.longest_side:
            batch = batch | {"image": [self._own_size(photo) for photo in batch["photo"]]}
        return super()._masks_at(batch, *args, **options)

    def _own_size(self, photo: Tensor) -> Tensor:
        """A photograph uint8 (3, H, W) as the network sees it, normalised."""
        height, width = photo.shape[-2:]
        shrink = min(1.0, self.longest_side / max(height, width))
        return to_input(fit_short_side(photo, max(1, round(min(height, width) * shrink))).to(self.device))

    def identity(self) -> dict[str, Any]:
        """Return what a checkpoint must share with this module to be loaded."""
        own = {"num_queries": len(self.head.queries), "num_layers": len(self.head.layers)}
        return super().identity() | own | {"patch_size": self.backbone.patch_size}

    def why_one_sided(self) -> str:
        """Return why many masks of nothing or of everything are likely, and what to type next."""
        return (
            "Likely the pseudo-masks are of the same kind, or training was short: look at page.html in their folder.\n"
            "Next: train longer, with a larger --model.optimizer.lr, or on other masks with --data.masks."
        )


def poly_factor(step: int, steps: float) -> float:
    """Factor of the learning rate at a step of so many: (1 - step / steps) ** 0.9."""
    return float(max(0.0, 1 - step / steps) ** 0.9)
