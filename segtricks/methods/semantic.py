"""Methods that embed pixels: on label maps they are scored by k-means, on masks as all others."""

from typing import Any

import torch
from torch import Tensor

from segtricks.data.sample import SegmentationDataset
from segtricks.methods.base import PLAIN, SegmentationModule
from segtricks.metrics.protocols import fit
from segtricks.scoring.evaluator import Evaluator, Target
from segtricks.scoring.semantic import Embedded, SemanticEvaluator
from segtricks.scoring.semantic_protocol import SemanticProtocol

UNTRAINED = "untrained features"
"""The row of a frozen backbone's features in the masks of the trained head."""


class SemanticModule(SegmentationModule):
    """A method with :meth:`embedded`, which test sets of label maps are scored by.

    Args:
        num_classes: classes of label maps, with the background as 0.
        options: as of :class:`SegmentationModule`.
    """

    embedded_rows: tuple[str, ...] = (PLAIN,)
    """Rows of the result."""

    def __init__(self, *args: Any, num_classes: int = 21, **options: Any) -> None:
        super().__init__(*args, **options)
        self.semantic = SemanticProtocol(num_classes=num_classes)

    def embedded(self, photo: Tensor) -> dict[str, Embedded]:
        """Return features and saliency of a photograph uint8 (3, H, W), by row; saliency of ``mask`` are logits."""
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
