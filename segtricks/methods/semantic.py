"""Methods that embed pixels: on label maps they are scored by k-means, on masks as all others."""

import dataclasses
from typing import Any

import torch
from torch import Tensor

from segtricks.data.problems import warn_of_left_out
from segtricks.data.sample import SegmentationDataset
from segtricks.methods.base import PLAIN, SegmentationModule
from segtricks.metrics.protocols import fit
from segtricks.scoring.evaluation import Score
from segtricks.scoring.evaluator import Evaluator, Target, gathered
from segtricks.scoring.linear_probe import ProbeRecipe, score_linear_probe, train_linear_probe
from segtricks.scoring.semantic import Embedded, SemanticEvaluator
from segtricks.scoring.semantic_protocol import SemanticProtocol

UNTRAINED = "untrained features"
"""The row of a frozen backbone's features in the masks of the trained head."""


class SemanticModule(SegmentationModule):
    """A method with :meth:`embedded`, which test sets of label maps are scored by.

    The data module may name a ``bank``, whose photographs retrieval compares with, and a ``probe``, a set that a linear
    probe is trained on (:class:`segtricks.data.PairDataModule`).

    Args:
        semantic: every choice of the scores on label maps.
        probe: how a linear probe is trained; its size is that of :attr:`test_side`.
        options: as of :class:`SegmentationModule`.
    """

    embedded_rows: tuple[str, ...] = (PLAIN,)
    """Rows of the result."""

    probe_dim: int
    """Channels of :meth:`probe_features`."""

    def __init__(self, *args: Any, semantic: SemanticProtocol, probe: ProbeRecipe, **options: Any) -> None:
        super().__init__(*args, **options)
        self.semantic, self.probe = semantic, probe

    @property
    def test_side(self) -> int:
        """Side of the square that photographs are resized to where label maps are the target."""
        raise NotImplementedError

    def embedded(self, photo: Tensor) -> dict[str, Embedded]:
        """Return features and saliency of a photograph uint8 (3, H, W), by row; saliency of ``mask`` are logits."""
        raise NotImplementedError

    def probe_features(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) to the features (B, probe_dim, h, w) that a linear probe looks at."""
        raise NotImplementedError

    def make_evaluator(self, dataset: SegmentationDataset, name: str) -> Evaluator:
        """Return what scores a test set: by k-means where it has label maps."""
        if dataset.target_kind != "labels":
            return super().make_evaluator(dataset, name)
        return SemanticEvaluator(name, self.semantic, self.embedded_rows, len(dataset))

    @torch.no_grad()
    def test_step(self, batch: dict[str, Any], batch_idx: int, dataloader_idx: int = 0) -> dict[str, list[Tensor]]:
        """Score a batch; return the masks at the photographs' own sizes, by row."""
        if "labels" not in batch:
            return super().test_step(batch, batch_idx, dataloader_idx)
        evaluator = self._evaluators[dataloader_idx]
        for path, reason in batch["skipped"]:
            evaluator.skip(path, reason)
        masks = []
        for photo, labels, path in zip(batch["photo"], batch["labels"], batch["path"], strict=True):
            predictions = self.embedded(photo)
            evaluator.add(Target(path, labels=labels), predictions)
            mask = predictions[PLAIN].saliency.sigmoid()
            masks.append(fit(mask[None], tuple(photo.shape[-2:]))[0])
        return {PLAIN: masks}

    def on_test_epoch_end(self) -> None:
        """Look at the bank, compute every row of every test set, and train the probe and score it."""
        evaluators = [each for each in self._evaluators if isinstance(each, SemanticEvaluator)]
        if evaluators:
            self._fill_banks(evaluators)
        super().on_test_epoch_end()
        if evaluators:
            self._add_probe()

    @torch.no_grad()
    def _fill_banks(self, evaluators: list[SemanticEvaluator]) -> None:
        loader = _of_data(self, "bank_dataloader")
        if loader is None:
            return
        skipped: list[tuple[str, str]] = []
        for batch in loader:
            skipped += batch["skipped"]
            for photo, labels, path in zip(batch["photo"], batch["labels"], batch["path"], strict=True):
                predictions = self.embedded(photo)
                for evaluator in evaluators:
                    evaluator.add_to_bank(Target(path, labels=labels), predictions)
        left_out = gathered(skipped)
        for evaluator in evaluators:
            evaluator.left_out["data.bank"] = left_out
        warn_of_left_out(f"data.bank {self.trainer.datamodule.bank}", left_out)  # type: ignore[attr-defined]

    # Lightning tests in inference mode, whose tensors cannot be trained with.
    @torch.inference_mode(False)
    @torch.enable_grad()
    def _add_probe(self) -> None:
        """Every process trains the same probe and scores all images."""
        dataset = _of_data(self, "probe_dataset")
        if dataset is None:
            return
        recipe = dataclasses.replace(self.probe, size=self.test_side)
        options = {"device": self.device, "workers": self.trainer.datamodule.num_workers}  # type: ignore[attr-defined]
        classes, left_out = self.semantic.num_classes, dict[str, str]()
        probe = train_linear_probe(
            self.probe_features, self.probe_dim, dataset, classes, recipe, **options, left_out=left_out
        )
        tests = self.trainer.datamodule.test_datasets  # type: ignore[attr-defined]
        for evaluation, test in zip(self.evaluations, tests, strict=True):
            if test.target_kind != "labels":
                continue
            evaluation.left_out["data.probe"] = list(left_out.items())
            scores, _ = score_linear_probe(self.probe_features, probe, test, recipe.size, **options)
            _add(evaluation.rows[PLAIN], "linear", scores)
            if recipe.crf:
                scores, _ = score_linear_probe(self.probe_features, probe, test, recipe.size, **options, crf=True)
                _add(evaluation.rows[PLAIN], "linear_crf", scores)


def _add(score: Score, name: str, scores: dict[str, Tensor]) -> None:
    score.metrics[f"{name}_miou"] = float(scores["miou"])
    score.metrics[f"{name}_miou_present"] = float(scores["miou_present"])
    score.per_class[f"{name}_miou"] = scores["per_class"].tolist()


def _of_data(module: SegmentationModule, name: str) -> Any:
    """What a method of the data module gives; None where it has no such method."""
    get = getattr(module.trainer.datamodule, name, None)  # type: ignore[attr-defined]
    return None if get is None else get()
