"""U2Seg: one network that learns instances, their kinds and stuff from pseudo-labels."""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from lightning.pytorch.cli import OptimizerCallable
from numpy.random import SeedSequence
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torchvision.models.detection.roi_heads import paste_masks_in_image
from torchvision.ops import FrozenBatchNorm2d

from segtricks.data.copy_paste import copy_paste
from segtricks.data.sample import Instances, Panoptic, SegmentationDataset, TargetKind
from segtricks.data.transforms import VOID
from segtricks.errors import UserError
from segtricks.heads.combine import combine_panoptic
from segtricks.heads.panoptic_fpn import NetworkSize, Norm, PanopticFPN, PanopticLosses
from segtricks.methods.base import PLAIN, Refine, SegmentationModule
from segtricks.methods.earlier_run import load_earlier_run
from segtricks.methods.mapping import mapping_batches
from segtricks.methods.trainable import Trainable
from segtricks.pseudo_labels.instances import PanopticWriter
from segtricks.pseudo_labels.merge import PanopticMap, PanopticPrediction
from segtricks.pseudo_labels.stages import LabelStage, PseudoLabels, label_stages
from segtricks.scoring.classed import ClassedEvaluator
from segtricks.scoring.evaluator import Target
from segtricks.scoring.label_maps import LabelMapEvaluator, LabelMapProtocol, Segmented
from segtricks.scoring.panoptic import PanopticEvaluator
from segtricks.scoring.panoptic_protocol import get_panoptic_protocol
from segtricks.training.resuming import total_steps

Schedule = Literal["steps", "few_shot", "cosine", "constant"]

_FIRST_FACTOR = 1e-3
_DECAYS = {"steps": (7 / 9, 25 / 27), "few_shot": (2 / 3, 8 / 9)}
_DECAY = 0.02
_HELD_OUT, _PASTED = 1, 2  # set the draws of validation and of copy-paste apart from those of training
_OF_THINGS = {"cls_score", "mask_fcn_logits"}
_PREDICTORS = {"num_things classes": _OF_THINGS, "num_stuff": {"predict"}}
_NORMS = (nn.GroupNorm, nn.modules.batchnorm._BatchNorm, FrozenBatchNorm2d)


class U2Seg(Trainable, SegmentationModule):
    """Train a :class:`segtricks.heads.panoptic_fpn.PanopticFPN` on a store of pseudo-labels.

    The store has the masks of instances with their classes from 1 and, where there is one, a label map of each
    photograph: 0 on instances, 1 and above for stuff, 255 where nothing is known. Photographs may be without instances.
    With ``from_run`` and ``classes`` it goes on from such a training with true classes of a few labelled photographs.

    ``predict`` gives a :class:`segtricks.pseudo_labels.merge.PanopticPrediction`, and writes a store of the same kind.
    ``test`` scores it against instances of a COCO JSON file, a store that holds the truth, or a data set with objects,
    stuff or label maps.

    Which anchors and proposals a step learns from is a function of seed and step, so that a resumed run draws what it
    would have drawn. Of the published recipe, several sizes of one photograph and statistics of BatchNorm that are
    computed again at the end are not there.

    Args:
        num_things: K, classes of the instances: 1 to K.
        num_stuff: S, classes of stuff: 1 to S; 0 learns no stuff.
        size: of the network.
        norm: normalisation of ResNet and pyramid: group, batch, or frozen_batch, which needs weights.
        backbone_checkpoint: a local file with the ResNet's weights, such as DINO's ResNet-50; without, it starts at
            random.
        drop_loss: do not learn that a proposal far from every instance is background (CutLER).
        shared_boxes: one box regression for all classes, in place of one for each.
        cascade: three box heads that correct boxes one after the other, as published, with shared boxes.
        copy_paste: share of the training photographs that get objects of another one of their batch (CutLER, 1.0).
        semantic_weight: of the loss of stuff; the others weigh 1.
        warmup_steps: over which the learning rate rises.
        schedule: then steps multiplies it by 0.02 after 7/9 and again after 25/27 of all steps, few_shot after 2/3 and
            8/9, cosine lets it fall to 0, constant keeps it.
        min_score: of a detection in a panoptic map.
        min_stuff_area: of a segment of stuff in it, in pixels of the photograph.
        optimizer: any torch optimiser; left out, SGD with lr 0.01, momentum 0.9 and weight decay 5e-5, which norms are
            spared.
        protocol: how ``test`` finds the classes of clusters: strict, u2seg as published, or on the images of
            data.mapping, train.
        labels: how ``fit`` makes the pseudo-labels that ``data.masks`` does not have.
        from_run: start from the weights of this run, without those that predict classes if the classes are others.
        classes: name of each class id of instances, of labels that are no pseudo-labels; their number is then
            num_things.
        predictor_lr: learning rate of what predicts classes, boxes and masks, as a multiple of the others'.
        seed: of the draws.

    Source: Niu et al., "Unsupervised Universal Image Segmentation", CVPR 2024.
    """

    default_optimizer: ClassVar = {
        "class_path": "torch.optim.SGD",
        "init_args": {"lr": 0.01, "momentum": 0.9, "weight_decay": 5e-5},
    }
    loss_names = (*PanopticLosses._fields[1:], "loss")
    training_options = (*Trainable.training_options, "labels", "copy_paste", "from_run", "predictor_lr")
    target_kind: ClassVar[TargetKind | None] = "panoptic"
    writer_class: ClassVar = PanopticWriter

    def __init__(
        self,
        num_things: int = 300,
        num_stuff: int = 27,
        size: NetworkSize = NetworkSize(),  # noqa: B008 - frozen
        norm: Norm = "batch",
        backbone_checkpoint: str | None = None,
        drop_loss: bool = False,
        shared_boxes: bool = False,
        cascade: bool = False,
        copy_paste: float = 0.0,
        semantic_weight: float = 0.5,
        warmup_steps: int = 1000,
        schedule: Schedule = "steps",
        min_score: float = 0.5,
        min_stuff_area: int = 4096,
        optimizer: OptimizerCallable | None = None,
        protocol: Literal["strict", "u2seg", "train"] = "strict",
        labels: PseudoLabels = PseudoLabels(),  # noqa: B008 - frozen
        from_run: str | None = None,
        classes: dict[int, str] | None = None,
        predictor_lr: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not 0 <= copy_paste <= 1 or predictor_lr < 0:
            raise UserError(
                "model.copy_paste is a share from 0 to 1 and model.predictor_lr not negative, got "
                f"{copy_paste} and {predictor_lr}."
            )
        self.copy_paste = copy_paste
        self.from_run, self.predictor_lr = from_run, predictor_lr
        self.classes = classes
        if classes:
            self.writer_class = partial(PanopticWriter, class_names=classes)  # type: ignore[misc,assignment]
        self.class_ids = sorted(classes or range(1, num_things + 1))
        variants = {"shared_boxes": shared_boxes, "cascade": cascade}
        options = (size, norm, backbone_checkpoint, drop_loss, shared_boxes, cascade)
        self.network = PanopticFPN(len(self.class_ids), num_stuff, *options)
        self.labels = labels
        self.variants = [name for name, wanted in variants.items() if wanted]
        self.norm, self.semantic_weight, self.seed = norm, semantic_weight, seed
        self.warmup_steps, self.schedule = warmup_steps, schedule
        self.panoptic_protocol = get_panoptic_protocol(protocol, min_score=min_score, min_stuff_area=min_stuff_area)
        self.predicted_row = PLAIN
        self.use_optimizer(optimizer)

    def stages(self, masks: str | None, run: Path) -> list[LabelStage]:
        """Return the commands that find masks, cluster them, and add stuff, as far as ``masks`` lacks these."""
        if self.classes:
            return []
        network = self.network
        options = {"num_things": network.num_things, "num_stuff": network.num_stuff, "seed": self.seed}
        return label_stages(self.labels, masks, run, **options)

    @property
    def rows(self) -> dict[str, Refine | None]:
        """The one row of the result that is predicted."""
        return {PLAIN: None}

    def trained_parameters(self) -> Iterator[dict[str, Any]]:
        """Yield parameters, those of norms without weight decay, and what predicts objects if at another rate."""
        norms = [part for module in self.modules() if isinstance(module, _NORMS) for part in module.parameters()]
        names = {*_OF_THINGS, "bbox_pred"} if self.predictor_lr != 1 else set()
        heads = self.network.objects.named_parameters()
        predictors = [part for name, part in heads if names & set(name.split("."))]
        apart = set(map(id, [*norms, *predictors]))
        yield {"params": [part for part in self.parameters() if id(part) not in apart]}
        yield {"params": norms, "weight_decay": 0.0}
        if predictors:
            yield {"params": predictors, "lr_factor": self.predictor_lr}

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor | None:
        """Return the objective of a batch of normalised images and their pseudo-labels."""
        if len(batch["image"]) == 0:
            return self.no_loss()
        losses = self._losses_of(self._augmented(batch), self.global_step)
        self.log_step(losses.total, self._terms(losses), batch["path"])
        return losses.total

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Log the objective on held-out training images and their pseudo-labels."""
        if len(batch["image"]) == 0:
            return self.log_held_out({}, 0)
        losses = self._losses_of(batch, batch_idx, _HELD_OUT)
        return self.log_held_out(self._terms(losses) | {"loss": losses.total}, len(batch["image"]))

    def _augmented(self, batch: dict[str, Any]) -> dict[str, Any]:
        if not self.copy_paste:
            return batch
        with drawn_by(self.seed, self.global_step, _PASTED, device=self.device):
            images, targets = copy_paste(batch["image"], batch["target"], self.copy_paste)
        return batch | {"image": images, "target": targets}

    def _losses_of(self, batch: Mapping[str, Any], *place: int) -> PanopticLosses:
        targets: list[Panoptic] = batch["target"]
        for target, path in zip(targets, batch["path"], strict=True):
            self._check(target, path)
        instances = [self._numbered(target.instances) for target in targets]
        semantic = torch.cat([target.semantic for target in targets])
        with drawn_by(self.seed, *place, device=self.device):
            return self.network.losses(batch["image"], instances, semantic, self.semantic_weight)

    def _check(self, target: Panoptic, path: str) -> None:
        """Raise a ``UserError`` for classes that the network does not have."""
        labels, known = target.instances.labels, target.semantic[target.semantic != VOID]
        others = set(labels.tolist()) - set(self.class_ids)
        if self.classes and others:
            raise UserError(
                f"The labels of {path} have the class {min(others)}, which is none of model.classes.\n"
                "Next: list it among the categories of the file that is passed as --data.masks."
            )
        if 0 in others:
            raise UserError(f"An instance of {path} has the class 0, and classes of instances count from 1.")
        wanted = {
            "num_things": (max(others, default=0), self.network.num_things),
            "num_stuff": (int(known.max()) if len(known) else 0, self.network.num_stuff),
        }
        for name, (highest, most) in wanted.items():
            if highest > most:
                raise UserError(
                    f"The pseudo-labels of {path} have the class {highest}, and model.{name} is {most}.\n"
                    f"Next: pass --model.{name} with the number of their classes, {highest} or more."
                )

    def _numbered(self, instances: Instances) -> Instances:
        """The instances with classes from 1 to K in place of their ids."""
        ids = torch.tensor(self.class_ids, device=instances.labels.device)
        return instances._replace(labels=torch.searchsorted(ids, instances.labels) + 1)

    def _terms(self, losses: PanopticLosses) -> dict[str, Tensor]:
        terms = losses._asdict()
        unused = {"total"} if self.network.num_stuff else {"total", "semantic"}
        return {name: term for name, term in terms.items() if name not in unused}

    def configure_optimizers(self) -> Any:
        """Return the optimiser with its schedule, stepped every training step."""
        optimizer = self.new_optimizer()
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, self._factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _factor(self, step: int) -> float:
        warm = min(1.0, step / self.warmup_steps) if self.warmup_steps else 1.0
        rising = _FIRST_FACTOR + (1 - _FIRST_FACTOR) * warm
        # The number of steps is known once the loaders are there, which a resumed run must not make before its state.
        return rising * decay(self.schedule, step / total_steps(self.trainer)) if step else rising

    def soft_masks(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) to (B, 1, H, W): the highest score of an object at each pixel, else 0."""
        size = (images.shape[-2], images.shape[-1])
        return torch.stack([_any_object(self._prediction(image, size)) for image in images]).to(images.device)

    def predict_step(self, batch: dict[str, Any], batch_idx: int, dataloader_idx: int = 0) -> list[PanopticPrediction]:  # type: ignore[override]
        """Return the objects and the stuff of each photograph at its own size, on the CPU."""
        sizes = [(photo.shape[-2], photo.shape[-1]) for photo in batch["photo"]]
        return [self._prediction(image, size) for image, size in zip(batch["image"], sizes, strict=True)]

    def _mask_of(self, photo: Tensor) -> NDArray[np.float32]:
        mask: NDArray[np.float32] = _any_object(self.prediction_of(photo))[0].numpy()
        return mask

    @torch.no_grad()
    def _prediction(self, image: Tensor, size: tuple[int, int]) -> PanopticPrediction:
        """Objects and stuff of an image (3, h, w), at another size."""
        (found,), logits = self.network(image[None])
        height, width = size
        scale = found.boxes.new_tensor([width / image.shape[-1], height / image.shape[-2]]).repeat(2)
        boxes = found.boxes * scale
        masks = paste_masks_in_image(found.masks, boxes, size)[:, 0] > 0.5
        semantic = interpolate(logits, size, mode="bilinear").argmax(dim=1)[0].cpu()
        labels = torch.tensor(self.class_ids)[found.labels.cpu() - 1]
        detected = Instances(masks.cpu(), labels, found.scores.float().cpu(), boxes=boxes.float().cpu())
        instances = detected.select(detected.masks.flatten(1).any(dim=1))
        return PanopticPrediction(instances, self._combined(instances, semantic), self.class_ids[-1])

    def _combined(self, instances: Instances, semantic: Tensor) -> PanopticMap:
        choices = self.panoptic_protocol
        segments, categories, is_thing = combine_panoptic(
            instances.masks,
            instances.scores,
            instances.labels,
            semantic,
            min_score=choices.min_score,
            max_overlap=choices.max_overlap,
            min_stuff_area=choices.min_stuff_area,
        )
        return PanopticMap(segments, torch.where(is_thing, categories, categories + self.class_ids[-1]))

    def setup(self, stage: str) -> None:
        """Start a new training from an earlier run; let test sets hand out objects and stuff, or label maps.

        Raises:
            UserError: the protocol and ``data.mapping`` do not go together, or there is no such run.
        """
        if stage == "fit" and self.from_run is not None and not self.trainer.ckpt_path:
            load_earlier_run(self, self.from_run, self.identity(), _PREDICTORS)
        if stage != "test":
            return
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        data.read_tests_as("panoptic")
        panoptic = any(dataset.target_kind == "panoptic" for dataset in data.test_datasets)
        by_others = self.panoptic_protocol.mapped_on == "train"
        if by_others and data.mapping is None:
            raise UserError(
                "The protocol train finds the classes of clusters on images that are not scored.\n"
                "Next: pass these, with their truth, as --data.mapping, for example coco17-panoptic-train[:1000]."
            )
        if data.mapping is not None and panoptic and not by_others:
            raise UserError(
                f"The protocol {self.panoptic_protocol.name} finds the classes of clusters on the images that are "
                f"scored, and not on {data.mapping}.\nNext: pass --protocol train, or leave out --data.mapping."
            )
        self.panoptic_protocol = dataclasses.replace(self.panoptic_protocol, mapping_set=data.mapping)

    def make_evaluator(self, dataset: SegmentationDataset, name: str) -> PanopticEvaluator | LabelMapEvaluator:
        """Return what scores a test set.

        That is AP and AR, by class too where these are known, with PQ and mIoU where there is stuff; mIoU alone where
        there are label maps.
        """
        things, stuff = self.class_ids[-1], self.network.num_stuff
        if dataset.target_kind == "labels":
            protocol, mapping_set = LabelMapProtocol(len(dataset.classes)), self.panoptic_protocol.mapping_set
            return LabelMapEvaluator(name, protocol, things + stuff, PLAIN, published=False, mapping_set=mapping_set)
        kind = ClassedEvaluator if self.classes else PanopticEvaluator
        return kind(name, things, stuff, self.panoptic_protocol, PLAIN)

    def test_step(self, batch: dict[str, Any], batch_idx: int, dataloader_idx: int = 0) -> dict[str, list[Tensor]]:
        """Score a batch; return for pictures the highest score of an object at each pixel."""
        evaluator = self._evaluators[dataloader_idx]
        for path, reason in batch["skipped"]:
            evaluator.skip(path, reason)
        predictions = self.predict_step(batch, batch_idx)
        for target, prediction in zip(_targets(batch), predictions, strict=True):
            evaluator.add(target, {PLAIN: _compared(prediction, target)})
        return {PLAIN: [_any_object(prediction) for prediction in predictions]}

    @torch.no_grad()
    def on_test_epoch_end(self) -> None:
        """Look at the images of ``data.mapping``, and compute the figures of every test set."""
        for batch in mapping_batches(self):
            for target, prediction in zip(_targets(batch), self.predict_step(batch, 0), strict=True):
                for evaluator in self._evaluators:
                    assert isinstance(evaluator, PanopticEvaluator | LabelMapEvaluator)
                    evaluator.add_to_mapping(target, {PLAIN: _compared(prediction, target)})
        super().on_test_epoch_end()

    def identity(self) -> dict[str, Any]:
        """Return what a checkpoint must share with this module to be loaded."""
        network = self.network
        size = dataclasses.asdict(network.size)
        own = {name: size[name] for name in ("depth", "channels", "semantic_channels", "hidden")}
        own |= {"num_things": network.num_things, "num_stuff": network.num_stuff, "norm": self.norm}
        own |= {"classes": sorted(self.classes)} if self.classes else {}
        own |= dict.fromkeys(self.variants, True)
        return super().identity() | own

    @property
    def counts(self) -> dict[str, int]:
        """``K`` classes of objects, ``S`` of stuff, and ``N`` masks of a photograph, where ``fit`` makes them."""
        return {"K": self.network.num_things, "S": self.network.num_stuff, "N": self.labels.rounds}

    @property
    def description(self) -> str:
        """The method, its network, and the number of its classes."""
        numbers = ", ".join(f"{name} = {number}" for name, number in self.counts.items())
        return f"U2Seg on ResNet-{self.network.size.depth}, {numbers}"

    def why_one_sided(self) -> str:
        """Return why many photographs without an object are likely, and what to type next."""
        return (
            "Likely training was short, or the pseudo-labels have few objects: look at page.html in their folder.\n"
            "Next: train longer, or on other masks with --data.masks."
        )


def decay(schedule: Schedule, share: float) -> float:
    """Factor of the learning rate after a share of all steps."""
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
    return float(_DECAY ** sum(share >= place for place in _DECAYS.get(schedule, ())))


@contextmanager
def drawn_by(*numbers: int, device: torch.device) -> Iterator[None]:
    """Let the global generators draw by these numbers, and go on afterwards as if nothing had been drawn."""
    seed = int(SeedSequence(numbers).generate_state(1, np.uint64)[0])
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed % 2**63)
        yield


def _any_object(prediction: PanopticPrediction) -> Tensor:
    """The highest score of an object at each pixel, (1, H, W)."""
    masks, scores = prediction.instances.masks, prediction.instances.scores
    nothing = torch.zeros(1, *masks.shape[1:])
    return torch.cat([nothing, masks * scores[:, None, None]]).amax(dim=0, keepdim=True)


def _targets(batch: Mapping[str, Any]) -> Iterator[Target]:
    """What is true of each photograph: objects and stuff, or a label map."""
    if "labels" in batch:
        for path, labels in zip(batch["path"], batch["labels"], strict=True):
            yield Target(path, labels=labels)
    else:
        for path, truth in zip(batch["path"], batch["target"], strict=True):
            yield Target(path, panoptic=_on_cpu(truth))


def _compared(prediction: PanopticPrediction, target: Target) -> Any:
    """What is compared with a target: the panoptic map as one of clusters where that is a label map."""
    if target.labels is None:
        return prediction
    found, categories = prediction.panoptic
    # Void is -1, things are 0 to K - 1, and stuff follows.
    return Segmented(torch.cat([categories.new_tensor([-1]), categories - 1])[found])


def _on_cpu(truth: Panoptic) -> Panoptic:
    values = (None if value is None else value.cpu() for value in truth.instances)
    segments = None if truth.segments is None else truth.segments.cpu()
    return Panoptic(Instances(*values), truth.semantic.cpu(), segments)  # type: ignore[arg-type]
