"""What every method shares: soft masks of images of any size, scored by protocol and refined in one pass."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar, overload

import lightning
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from segtricks.data.sample import SegmentationDataset, TargetKind
from segtricks.data.transforms import denormalize, fit_short_side, to_input
from segtricks.errors import UserError
from segtricks.methods.photographs import Photograph, Photographs, as_pixels, is_one
from segtricks.metrics import ImageScores, apply_polarity, get_protocol
from segtricks.metrics.protocols import fit
from segtricks.pseudo_labels.stages import LabelStage
from segtricks.pseudo_labels.writer import MaskWriter
from segtricks.refine import BILATERAL_PRESETS, GuidedFilter
from segtricks.scoring.evaluation import Evaluation
from segtricks.scoring.evaluator import Evaluator, SaliencyEvaluator, Target
from segtricks.training.checkpoints import freeze_out, thaw_in
from segtricks.words import ROWS

PLAIN, REFINED, SOLVED = ROWS.values()

Refine = Callable[[Tensor, Tensor], Tensor]
"""From a mask (1, 1, H, W) and its image in [0, 1] to the refined mask."""
Item = TypeVar("Item")


class SegmentationModule(lightning.LightningModule):
    """Evaluate and predict with whatever :meth:`soft_masks` a subclass gives.

    Args:
        protocol: named protocol of ``test``.
        refiner: the guided filter of the second row and of ``predict``.
        refine_at: refine at the ``model``'s resolution, or after enlarging to the ``full`` photograph.
        bilateral_preset: cell sizes of the bilateral solver, which adds a third row; left out, there is none.
    """

    needs_checkpoint = True

    exportable = False
    """Whether :meth:`soft_masks` is all that makes a prediction and one graph of tensors, for ``segtricks export``."""

    target_kind: ClassVar[TargetKind | None] = None
    """What training batches hold besides photographs; None trains without any mask or label."""

    writer_class: ClassVar[type[MaskWriter]] = MaskWriter
    """What writes the predictions of ``segtricks predict``."""

    input_size = 320
    """Short side in pixels at which :meth:`masks` shows a photograph to the network; ``load_run`` sets the run's."""

    input_multiple: int | None = None
    """What both sides are multiples of then; None is the backbone's patch."""

    def __init__(
        self,
        protocol: str = "fullres",
        refiner: GuidedFilter | None = None,
        refine_at: Literal["model", "full"] = "model",
        bilateral_preset: Literal["two-tricks", "tokencut"] | None = None,
    ) -> None:
        super().__init__()
        if refine_at not in ("model", "full"):
            raise ValueError(f"refine_at must be model or full, got {refine_at!r}")
        self.protocol = get_protocol(protocol)
        self.refiner = refiner or GuidedFilter()
        self.refine_at = refine_at
        self.bilateral_solver = BILATERAL_PRESETS[bilateral_preset] if bilateral_preset else None
        self.predicted_row = REFINED
        """Which row the masks of ``predict`` are, and the figures that stand for a test set."""
        self.predict_polarity, self.predict_interpolation = "none", "bilinear"
        self.evaluations: list[Evaluation] = []
        """Of the test sets, once they were tested."""
        self.batch_scores: dict[str, list[ImageScores | None]] = {}
        """Of the batch tested last, by row: the figures of each image, None in a set without masks."""

    @property
    def rows(self) -> dict[str, Refine | None]:
        """Rows of the result: a name, and what refines the mask."""
        rows: dict[str, Refine | None] = {PLAIN: None, REFINED: self.refiner}
        return rows if self.bilateral_solver is None else rows | {SOLVED: self.bilateral_solver}

    @property
    def description(self) -> str:
        """What makes the masks, in words."""
        return type(self).__name__

    @property
    def counts(self) -> dict[str, int]:
        """Numbers of the pseudo-labels, by which results are told apart; of most methods none."""
        return {}

    def why_one_sided(self) -> str:
        """Return why many masks of nothing or of everything are likely, and what to type next."""
        return (
            "Likely the head has learned nothing: look at figures/validation.png of its run.\n"
            "Next: train longer, with another --model.tau (such as share:0.5) or --model.feature; or leave out --run."
        )

    def stages(self, masks: str | None, run: Path) -> list[LabelStage]:
        """Return the commands by which ``fit`` makes what training reads, in the folder of the run; often none.

        Args:
            masks: the pseudo-labels that are there.
            run: with ``photographs.txt``; the last command leaves a store in ``pseudo_labels``.
        """
        return []

    def soft_masks(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) to foreground probabilities (B, 1, H, W), float32."""
        raise NotImplementedError

    @overload
    def masks(self, photographs: Photograph) -> NDArray[np.float32]: ...

    @overload
    def masks(self, photographs: Photographs) -> list[NDArray[np.float32]]: ...

    @torch.no_grad()
    def masks(self, photographs: Photograph | Photographs) -> NDArray[np.float32] | list[NDArray[np.float32]]:
        """Return what ``segtricks predict`` writes: foreground probabilities at each photograph's own size.

        Args:
            photographs: a path, a PIL image or a uint8 RGB array (H, W, 3); or a list of these.

        Returns:
            A float32 array (H, W) in [0, 1], foreground above 0.5; of a list, a list of them.

        Raises:
            UserError: something else than photographs.
            UnreadableImage: a file that cannot be read.
        """
        single = is_one(photographs)
        masks = [self._mask_of(as_pixels(photo)) for photo in ([photographs] if single else photographs)]  # type: ignore[union-attr]
        return masks[0] if single else masks

    def _mask_of(self, photo: Tensor) -> NDArray[np.float32]:
        mask: NDArray[np.float32] = self.prediction_of(photo)[0].float().cpu().numpy()
        return mask

    def prediction_of(self, photo: Tensor) -> Any:
        """Return what :meth:`predict_step` makes of one photograph uint8 (3, H, W)."""
        return self.predict_step(self.batch_of(photo), 0)[0]

    def batch_of(self, photo: Tensor) -> dict[str, Any]:
        """Return one photograph uint8 (3, H, W) as a batch of :meth:`predict_step`."""
        multiple = self.input_multiple or int(getattr(getattr(self, "backbone", None), "patch_size", 1))
        image = to_input(fit_short_side(photo, self.input_size, multiple).to(self.device))
        return {"image": [image], "photo": [photo], "path": [""], "skipped": []}

    def identity(self) -> dict[str, Any]:
        """Return what a checkpoint must share with this module to be loaded: plain data by name.

        Here the method, and name and width of its ``backbone`` if it has one; a method adds what else its tensors
        depend on.
        """
        backbone = getattr(self, "backbone", None)
        known = {"backbone": getattr(backbone, "name", None), "feature_dim": getattr(backbone, "feature_dim", None)}
        return {"method": type(self).__name__} | {key: value for key, value in known.items() if value is not None}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave a frozen backbone out, and say which one it was."""
        freeze_out(checkpoint, self.identity(), (name for name, part in self.named_parameters() if part.requires_grad))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of another network (``UserError``); put the frozen backbone back."""
        thaw_in(checkpoint, self.identity(), self.state_dict())

    def setup(self, stage: str) -> None:
        """Let the protocol decide how test images are cut."""
        choice = self.protocol
        if stage == "test" and choice.resize and choice.size and choice.batch_size:
            self.trainer.datamodule.crop_tests(choice.resize, choice.size, choice.batch_size)  # type: ignore[attr-defined]

    def make_evaluator(self, dataset: SegmentationDataset, name: str) -> Evaluator:
        """Return what scores a test set: by masks where it has masks, by CorLoc where it has boxes.

        A method whose predictions are not soft masks of one object returns an evaluator of its own.
        """
        masks, boxes = dataset.masks is not None, dataset.annotations is not None
        return SaliencyEvaluator(name, self.protocol, tuple(self.rows), masks, boxes)

    @property
    def scoring_device(self) -> torch.device:
        """Where masks are scored: not on Metal, which has no float64."""
        return torch.device("cpu") if self.device.type == "mps" else self.device

    def on_test_start(self) -> None:
        """Make an evaluator for each test set."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        sets = zip(data.test_datasets, data.test_names, strict=True)
        self._evaluators = [self.make_evaluator(dataset, name) for dataset, name in sets]

    def test_step(self, batch: dict[str, Any], batch_idx: int, dataloader_idx: int = 0) -> dict[str, list[Tensor]]:
        """Score a batch; return the masks at the photographs' own sizes, by row.

        Raises:
            UserError: a mask is not finite; names its photograph.
        """
        evaluator = self._evaluators[dataloader_idx]
        for path, reason in batch["skipped"]:
            evaluator.skip(path, reason)
        sizes = [tuple(photo.shape[-2:]) for photo in batch["photo"]]
        outputs = self._masks_at(batch, sizes, self.protocol.polarity, self.protocol.interpolation)
        for masks in outputs.values() if "ignored" in batch else ():
            pairs = zip(masks, batch["ignored"], strict=True)
            masks[:] = [mask.masked_fill(ignored.to(mask.device), 0) for mask, ignored in pairs]
        self.batch_scores = {row: [] for row in outputs}
        for i, path in enumerate(batch["path"]):
            target = Target(
                path,
                batch["mask"][i][None].to(self.scoring_device) if "mask" in batch else None,
                batch["boxes"][i] if "boxes" in batch else None,
            )
            found = {row: _finite(masks[i], row, path).to(self.scoring_device) for row, masks in outputs.items()}
            verdicts = evaluator.add(target, found)
            for row, verdict in verdicts.items():
                self.batch_scores[row].append(verdict.scores)
        return outputs

    def on_test_epoch_end(self) -> None:
        """Compute every row of every test set."""
        self.evaluations = [evaluator.result() for evaluator in self._evaluators]

    def predict_step(self, batch: dict[str, Any], batch_idx: int, dataloader_idx: int = 0) -> list[Tensor]:
        """Return one probability mask (1, H, W) per photograph, at its own size."""
        sizes = [tuple(photo.shape[-2:]) for photo in batch["photo"]]
        rows = self._masks_at(batch, sizes, self.predict_polarity, self.predict_interpolation, only=self.predicted_row)
        return rows[self.predicted_row]

    def _masks_at(
        self,
        batch: dict[str, Any],
        sizes: list[tuple[int, ...]],
        polarity: str,
        interpolation: str = "bilinear",
        only: str | None = None,
    ) -> dict[str, list[Tensor]]:
        refiners = {row: refine for row, refine in self.rows.items() if only in (None, row)}
        rows: dict[str, list[Tensor]] = {row: [] for row in refiners}
        probs = self.probabilities(batch, polarity)
        for prob, image, photo, size in zip(probs, batch["image"], batch["photo"], sizes, strict=True):
            for row, refine in refiners.items():
                rows[row].append(self.refined(refine, prob, image, photo, size, interpolation)[0])
        return rows

    def refined(
        self,
        refine: Refine | None,
        prob: Tensor,
        image: Tensor,
        photo: Tensor,
        size: tuple[int, ...],
        interpolation: str = "bilinear",
    ) -> Tensor:
        """Return a mask of :meth:`probabilities` at another size (1, 1, H, W), refined where ``refine_at`` says.

        Args:
            refine: what refines it, or None.
            prob: the mask (1, 1, h, w).
            image: the normalised image (3, h, w) that the network saw.
            photo: uint8 (3, H, W).
            size: H and W.
            interpolation: by which it is enlarged.
        """
        if refine is None:
            return fit(prob, size, interpolation)
        if self.refine_at == "model":
            return fit(refine(prob, denormalize(image[None])).clamp(0, 1), size, interpolation)
        guidance = photo[None].to(prob.device).float() / 255
        return refine(fit(prob, size, interpolation), guidance).clamp(0, 1)

    def probabilities(self, batch: Mapping[str, Any], polarity: str) -> list[Tensor]:
        """Return a foreground probability (1, 1, h, w) per image of a batch; those of equal size run together."""
        images: list[Tensor] = batch["image"]
        groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for i, image in enumerate(images):
            groups[tuple(image.shape)].append(i)
        masks: dict[int, Tensor] = {}
        with batch_statistics(self) if self.protocol.bn_mode == "batch" else nullcontext():
            for members in groups.values():
                prob = apply_polarity(self.soft_masks(torch.stack([images[i] for i in members])), polarity)
                masks |= {i: prob[k : k + 1] for k, i in enumerate(members)}
        return [masks[i] for i in range(len(images))]


def weights_of(module: nn.Module) -> str:
    """Return where the weights of a module's frozen backbone come from, in words; empty where it has none."""
    return str(getattr(getattr(module, "backbone", None), "weights", ""))


@contextmanager
def batch_statistics(module: nn.Module) -> Iterator[None]:
    """Let every batch norm use the statistics of its batch, and leave its running ones untouched."""
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    before = [(m.training, m.track_running_stats) for m in norms]
    for norm in norms:
        norm.training, norm.track_running_stats = True, False
    try:
        yield
    finally:
        for norm, (training, tracked) in zip(norms, before, strict=True):
            norm.training, norm.track_running_stats = training, tracked


def _finite(mask: Tensor, row: str, path: str) -> Tensor:
    if not mask.isfinite().all():
        raise UserError(
            f"The {row} of {path} holds nan or infinity.\n"
            "Next: pass --trainer.precision 32-true, or another checkpoint with --ckpt_path."
        )
    return mask[None]
