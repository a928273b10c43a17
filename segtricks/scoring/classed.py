"""Score instances whose classes are those of the truth, so that no clusters have to be matched to classes."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from segtricks.metrics import ClassAgnosticAP
from segtricks.pseudo_labels.merge import PanopticPrediction
from segtricks.scoring.evaluation import Evaluation
from segtricks.scoring.evaluator import Target, Verdict
from segtricks.scoring.panoptic import PanopticEvaluator, detected, existing, true_objects


class _AP(ClassAgnosticAP):
    """COCO's AP as it is: the mean over the classes."""

    def _item(self, item: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return super()._item(item) | {"labels": item["labels"]}


class ClassedEvaluator(PanopticEvaluator):
    """A :class:`PanopticEvaluator` of predictions whose class ids are the truth's.

    The predictions also get ``class_box_ap``, ``class_box_ap50``, ``class_mask_ap`` and ``class_mask_ap50``: means over
    the classes. Panoptic quality takes things by their ids, of which those that no truth has count as wrong, and
    matches stuff as ever.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._by_class = {"box": _AP("bbox").to(self.device), "mask": _AP("segm").to(self.device)}

    def add(self, target: Target, predictions: Mapping[str, PanopticPrediction]) -> dict[str, Verdict]:
        """Add an image."""
        verdicts = super().add(target, predictions)
        assert target.panoptic is not None
        truth, found = target.panoptic.instances, predictions[self.row].instances
        for metric in self._by_class.values():
            metric.update(
                [detected(found, self.device) | {"labels": found.labels.to(self.device)}],
                [true_objects(truth, self.device) | {"labels": truth.labels.to(self.device)}],
            )
        return verdicts

    def result(self) -> Evaluation:
        """Return the figures, over the images of all processes."""
        evaluation = super().result()
        for kind, metric in self._by_class.items():
            figures = metric.compute()
            named = {f"class_{kind}_{key}": figures[key] for key in ("ap", "ap50")}
            evaluation.rows[self.row].metrics |= existing(named)
        return evaluation

    def _mapping(self, found: Sequence[Any], things: list[int], stuff: list[int]) -> Tensor:
        mapping = super()._mapping(found, things, stuff)
        mapping[1 : self.num_things + 1] = torch.arange(1, self.num_things + 1)
        return mapping
