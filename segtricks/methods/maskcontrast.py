"""MaskContrast: embeddings of pixels in which objects of one kind lie together, from masks without labels."""

import copy
import logging
import math
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize
from torch.optim.swa_utils import get_ema_multi_avg_fn
from torchmetrics.utilities.distributed import gather_all_tensors

from segtricks.backbones import Backbone, create_backbone
from segtricks.backbones.registry import RESNETS, last_feature
from segtricks.data.sample import TargetKind
from segtricks.data.transforms import to_input
from segtricks.errors import UserError
from segtricks.heads import MaskContrastHead, MaskContrastOutput, MaskContrastViTHead
from segtricks.losses import balanced_bce_loss, mask_contrastive_loss, mask_prototypes
from segtricks.methods.base import PLAIN, REFINED
from segtricks.methods.prototype_queue import PrototypeQueue
from segtricks.methods.selfmask import poly_factor
from segtricks.methods.semantic import UNTRAINED, SemanticModule
from segtricks.methods.trainable import Trainable
from segtricks.refine import GuidedFilter
from segtricks.scoring.linear_probe import ProbeRecipe
from segtricks.scoring.semantic import Embedded
from segtricks.scoring.semantic_protocol import SemanticProtocol

_NAMED = 5
log = logging.getLogger(__name__)


class MaskContrast(Trainable, SemanticModule):
    """Train a head, and parts of its backbone, by contrasting pixels with the prototypes of masks.

    Of two views of a photograph, the pixels of one view's object shall be close to the mean embedding of the object in
    the other view, which a slowly moving copy of the network gives, and far from those of other photographs, of which a
    queue remembers the latest. A second head learns the masks themselves. Batches are those of
    :class:`segtricks.data.PairDataModule`.

    Args:
        backbone: name of the network (``segtricks.backbones.create_backbone``): of the paper supervised_resnet50 or
            moco_resnet50, which get its head; all others get one for the tokens of a ViT.
        pretrained: start from its published weights.
        backbone_checkpoint: a local file with its weights, instead of the download.
        pos_interp: position embeddings resized as dino, timm or selfmask does.
        freeze: what of the backbone is not trained: all of it (frozen), all but the last trained_blocks (stem), or
            nothing (none).
        trained_blocks: of freeze stem, so many blocks of a ViT or of the four stages of a ResNet.
        backbone_lr: learning rate of the backbone, as a multiple of the head's.
        layer_decay: learning rate of a block of the backbone, as a multiple of that of the next block.
        embedding_dim: dimensions of the embedding.
        queue: prototypes that are remembered; twice the images in a batch of all processes.
        temperature: divides the cosines.
        momentum: share of the copy of the network that a step keeps.
        schedule: of the learning rate, once an epoch: poly is (1 - epoch / epochs) ** 0.9; cosine, or constant.
        refiner: window and borders of the guided filter in ``test`` and ``predict``.
        guided_filter: filter predictions.
        bilateral_preset: also test the mask refined by the bilateral solver, with these cell sizes: two-tricks 24/4/4,
            tokencut 16/16/8.
        optimizer: any torch optimiser; left out, SGD with lr 0.004, momentum 0.9 and weight decay 1e-4.
        protocol: how ``test`` scores saliency maps on sets of masks; sets of label maps are scored by
            :class:`segtricks.scoring.semantic.SemanticEvaluator`.
        semantic: every choice of the scores on label maps.
        probe: how a linear probe is trained on label maps, if data.probe names a set of them.
        test_size: side to which photographs are resized for label maps, rounded up to whole patches.
        seed: unused, the steps draw nothing of their own.

    Source: Van Gansbeke et al., "Unsupervised Semantic Segmentation by Contrasting Object Mask Proposals", ICCV 2021.
    """

    default_optimizer: ClassVar = {
        "class_path": "torch.optim.SGD",
        "init_args": {"lr": 0.004, "momentum": 0.9, "weight_decay": 1e-4},
    }
    loss_names = ("contrast", "saliency", "loss")
    target_kind: ClassVar[TargetKind | None] = "mask"

    def __init__(
        self,
        backbone: str = "supervised_resnet50",
        pretrained: bool = True,
        backbone_checkpoint: str | None = None,
        pos_interp: Literal["dino", "timm", "selfmask"] = "dino",
        freeze: Literal["frozen", "stem", "none"] = "stem",
        trained_blocks: int = 2,
        backbone_lr: float = 1.0,
        layer_decay: float = 1.0,
        embedding_dim: int = 32,
        queue: int = 128,
        temperature: float = 0.5,
        momentum: float = 0.999,
        schedule: Literal["poly", "cosine", "constant"] = "poly",
        refiner: GuidedFilter = GuidedFilter(),  # noqa: B008 - frozen
        guided_filter: bool = False,
        bilateral_preset: Literal["two-tricks", "tokencut"] | None = None,
        optimizer: OptimizerCallable | None = None,
        protocol: str = "fullres",
        semantic: SemanticProtocol = SemanticProtocol(),  # noqa: B008 - frozen
        probe: ProbeRecipe = ProbeRecipe(),  # noqa: B008 - frozen
        test_size: int = 512,
        seed: int = 0,
    ) -> None:
        super().__init__(protocol, refiner, bilateral_preset=bilateral_preset, semantic=semantic, probe=probe)
        if temperature <= 0 or not 0 <= momentum < 1 or min(embedding_dim, test_size) < 1:
            raise UserError(
                "model.temperature must be above 0, model.momentum at least 0 and below 1, model.embedding_dim and "
                f"model.test_size at least 1, got {temperature}, {momentum}, {embedding_dim} and {test_size}."
            )
        if not 0 < layer_decay <= 1 or backbone_lr < 0:
            raise UserError(
                "model.layer_decay must be above 0 and at most 1 and model.backbone_lr at least 0, got "
                f"{layer_decay} and {backbone_lr}."
            )
        self.backbone = create_backbone(
            backbone, pretrained, backbone_checkpoint, last_feature(backbone), pos_interp=pos_interp
        )
        if freeze != "frozen":
            self.backbone.thaw(trained_blocks if freeze == "stem" else None)
        width = self.backbone.feature_dim
        published = backbone in RESNETS
        self.head = (MaskContrastHead if published else MaskContrastViTHead)(width, embedding_dim)
        self.key_head = copy.deepcopy(self.head).requires_grad_(False)
        self.key_backbone = None if freeze == "frozen" else _copy_of_trained(self.backbone)
        self.queue = PrototypeQueue(queue, embedding_dim)
        self.temperature, self.momentum, self.schedule = temperature, momentum, schedule
        self.backbone_lr, self.layer_decay = backbone_lr, layer_decay
        self.freeze_choice = freeze if freeze != "stem" else f"{freeze} {trained_blocks}"
        self.predicted_row = REFINED if guided_filter else PLAIN
        self.test_size = test_size
        self.probe_dim = self.head.width
        if self.key_backbone is None:
            self.embedded_rows = (PLAIN, UNTRAINED)
        self._smallest_batch = 2 if published else 1  # batch norm of pooled features needs two images
        self._replaced: list[str] = []
        self._shown = self._not_shown = 0
        self._warned = False
        self.use_optimizer(optimizer)

    def forward(self, images: Tensor) -> MaskContrastOutput:
        """Normalised images (B, 3, H, W) to embedding and saliency on the grid of the backbone."""
        return _outputs(self.backbone, self.head, images)

    def soft_masks(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) to foreground probabilities (B, 1, H, W), float32."""
        return self(images).enlarged(*images.shape[-2:]).saliency.sigmoid()

    def losses(self, images: Tensor, masks: Tensor) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Return the loss terms of a training step, the keys of its images (B, D), and the saliency's logits.

        The copy of the network is moved, and the queue is read, not written. Losses are taken on the pixels of the
        masks, to whose size embedding and saliency are enlarged.

        Args:
            images: (2B, 3, H, W), normalised: the views of the queries, then those of the keys.
            masks: (2B, 1, h, w) of 0 and 1, in the same order.
        """
        trained = None if self.key_backbone is None else self.backbone
        # A frozen backbone is the same for both: one pass.
        query, key = (images if trained else self.backbone(images)).chunk(2)
        query_mask, key_mask = masks.chunk(2)
        output = _outputs(trained, self.head, query).enlarged(*masks.shape[-2:])
        saliency = balanced_bce_loss(output.saliency, query_mask)
        self.move_copy()
        keys = self._prototypes(key, key_mask)
        return {"contrast": self._contrast(output, query_mask, keys), "saliency": saliency}, keys, output.saliency

    @torch.no_grad()
    def move_copy(self) -> None:
        """Move the parameters of the copy by 1 - momentum of the way to those that are trained; no buffer changes."""
        pairs: list[tuple[nn.Module, nn.Module]] = [(self.key_head, self.head)]
        if self.key_backbone is not None:
            pairs.append((self.key_backbone, self.backbone))
        averaged, current = [], []
        for copied, network in pairs:
            for own, theirs in zip(copied.parameters(), network.parameters(), strict=True):
                if theirs.requires_grad:
                    averaged.append(own.detach())
                    current.append(theirs.detach())
        get_ema_multi_avg_fn(self.momentum)(averaged, current, 0)

    @torch.no_grad()
    def _prototypes(self, inputs: Tensor, masks: Tensor) -> Tensor:
        """Prototypes (B, D) of images, or of a frozen backbone's features, by the copy of the network."""
        output = _outputs(self.key_backbone, self.key_head, inputs).enlarged(*masks.shape[-2:])
        return mask_prototypes(normalize(output.embedding, dim=1), masks)

    def _contrast(self, output: MaskContrastOutput, masks: Tensor, keys: Tensor) -> Tensor:
        return mask_contrastive_loss(output.embedding, masks, keys, self.queue.entries, self.temperature)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor | None:
        """Return the objective of a batch of pairs; remember the prototypes of all processes, in the order of ranks."""
        if "replaced" not in batch:
            raise UserError(
                "MaskContrast trains on pairs of views.\nNext: pass --data segtricks.data.PairDataModule, or start "
                "from --config maskcontrast or maskcontrast_vit."
            )
        self._replaced += batch["replaced"]
        images, count = batch["image"], len(batch["path"])
        self._shown += count
        self._not_shown += batch.get("empty", 0)
        if count < self._smallest_batch:
            if count and not batch["skipped"]:
                raise UserError("The batch norms of this head need two images: pass --data.batch_size 2 or more.")
            self.queue.push(of_all_processes(self.queue.entries[:0]))
            return self.no_loss()
        terms, keys, saliency = self.losses(images, batch["target"])
        self.queue.push(of_all_processes(keys))
        self.last_share = (saliency.detach() > 0).float().mean()
        loss = terms["contrast"] + terms["saliency"]
        self.log_step(loss, terms, batch["path"])
        return loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor | None:
        """Log the losses on held-out images, each with its own prototype as the key; return their saliency."""
        images, count = batch["image"], len(batch["image"])
        if count == 0:
            self.log_held_out({}, 0)
            return None
        masks = batch["target"]
        features = self.backbone(images)
        output = _outputs(None, self.head, features)
        large = output.enlarged(*masks.shape[-2:])
        keys = self._prototypes(features if self.key_backbone is None else images, masks)
        contrast, saliency = self._contrast(large, masks, keys), balanced_bce_loss(large.saliency, masks)
        self.log_held_out({"contrast": contrast, "saliency": saliency, "loss": contrast + saliency}, count)
        return output.enlarged(*images.shape[-2:]).saliency.sigmoid()

    @property
    def test_side(self) -> int:
        """``test_size``, rounded up to whole patches."""
        patch = self.backbone.patch_size
        return math.ceil(self.test_size / patch) * patch

    def probe_features(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) to what both heads look at, (B, 256, h, w)."""
        decoded: Tensor = self.head.decode(self.backbone(images))
        return decoded

    def embedded(self, photo: Tensor) -> dict[str, Embedded]:
        """Return the embedding of a photograph uint8 (3, H, W), and a frozen backbone's features in the same mask."""
        side = self.test_side
        square = interpolate(photo[None], (side, side), mode="bicubic", antialias=True)
        features = self.backbone(to_input(square.to(self.device)))
        output = _outputs(None, self.head, features)
        saliency = output.enlarged(side, side).saliency[0]
        rows = {PLAIN: Embedded(output.embedding[0], saliency)}
        if UNTRAINED in self.embedded_rows:
            rows[UNTRAINED] = Embedded(features[0].float(), saliency > self.semantic.foreground)
        return rows

    def on_train_epoch_end(self) -> None:
        """Log how many photographs were replaced by others, since their masks allow no view; name some, once.

        Raises:
            UserError: no mask allowed any in the whole epoch.
        """
        if self._not_shown and not self._shown:
            raise UserError(
                f"Nothing to learn: no mask of the {self._not_shown:,} photographs of an epoch has a view with between "
                "1 and 99 % of foreground; they are empty or full.\n"
                "Next: look at some of the masks, and pass others as --data.masks."
            )
        self._shown = self._not_shown = 0
        super().on_train_epoch_end()
        self.log("health/replaced", float(len(self._replaced)), sync_dist=True, reduce_fx="sum")
        if self._replaced and not self._warned:
            log.warning(
                "%d photographs of an epoch were replaced by others: no view of them has between 1 and 99 %% of "
                "foreground. Among them are %s.",
                len(self._replaced),
                ", ".join(self._replaced[:_NAMED]),
            )
            self._warned = True
        self._replaced = []

    def trained_parameters(self) -> Iterator[Any]:
        """Yield the parameters of the head, and those of the backbone with factors of their learning rates."""
        yield {"params": list(self.head.parameters())}
        if self.key_backbone is None:
            return
        for factor, parameters in _layers(self.backbone, self.layer_decay):
            yield {"params": parameters, "lr_factor": factor * self.backbone_lr}

    def configure_optimizers(self) -> Any:
        """Return the optimiser with its schedule, stepped every epoch."""
        optimizer = self.new_optimizer()
        if self.schedule == "constant":
            return optimizer
        if (self.trainer.max_epochs or 0) < 1:
            raise UserError(f"The schedule {self.schedule} ends with the last epoch: pass --trainer.max_epochs 40.")
        return [optimizer], [torch.optim.lr_scheduler.LambdaLR(optimizer, self._factor)]

    def _factor(self, epoch: int) -> float:
        epochs = self.trainer.max_epochs or 1
        if self.schedule == "poly":
            return poly_factor(epoch, epochs)
        return (1 + math.cos(math.pi * min(1.0, epoch / epochs))) / 2

    def identity(self) -> dict[str, Any]:
        """Return what a checkpoint must share with this module to be loaded."""
        own = {"embedding_dim": self.head.embedding_dim, "queue": len(self.queue.entries)}
        return super().identity() | own | {"freeze": self.freeze_choice, "patch_size": self.backbone.patch_size}

    def why_one_sided(self) -> str:
        """Return why many masks of nothing or of everything are likely, and what to type next."""
        return (
            "Likely the masks to train on are of the same kind, or training was short: look at page.html in their "
            "folder.\nNext: train longer, or on other masks with --data.masks."
        )


def of_all_processes(keys: Tensor) -> Tensor:
    """Keys (n, D) of all processes in the order of their ranks; n may differ among them."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return keys
    return torch.cat(gather_all_tensors(keys))


def _outputs(backbone: Backbone | None, head: nn.Module, inputs: Tensor) -> MaskContrastOutput:
    """Embedding and saliency of images, or of features where there is no backbone, float32."""
    output: MaskContrastOutput = head(inputs if backbone is None else backbone(inputs))
    return MaskContrastOutput(output.embedding.float(), output.saliency.float())


def _copy_of_trained(backbone: Backbone) -> Backbone:
    """A copy without gradient that shares what is frozen."""
    shared = {id(parameter): parameter for parameter in backbone.parameters() if not parameter.requires_grad}
    return copy.deepcopy(backbone, shared).requires_grad_(False)


def _layers(backbone: Backbone, decay: float) -> Iterator[tuple[float, list[nn.Parameter]]]:
    """Trained parameters by layer, each with its factor: 1 for the last layer and ``decay`` times it before each."""
    model = getattr(backbone, "model", None)
    if decay == 1 or not isinstance(model, nn.Module):
        yield 1.0, [parameter for parameter in backbone.parameters() if parameter.requires_grad]
        return
    from timm.optim import param_groups_layer_decay  # timm takes seconds to import

    for group in param_groups_layer_decay(model, weight_decay_exclude_1d=False, layer_decay=decay):
        yield group["lr_scale"], group["params"]
