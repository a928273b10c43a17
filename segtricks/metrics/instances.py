"""Average precision of objects of any class, by their boxes or their masks."""

from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from typing import Any, Literal, get_args

import torch
import torch.distributed as dist
from torch import Tensor
from torchmetrics.detection import MeanAveragePrecision

Kind = Literal["bbox", "segm"]

_KEYS = {
    "ap": "map",
    "ap50": "map_50",
    "ap75": "map_75",
    "ap_small": "map_small",
    "ap_medium": "map_medium",
    "ap_large": "map_large",
    "ar1": "mar_1",
    "ar10": "mar_10",
    "ar100": "mar_100",
}

_OF_ALL_SIZES = tuple(key for key in _KEYS if key not in ("ap_small", "ap_medium", "ap_large"))


class ClassAgnosticAP(MeanAveragePrecision):
    """COCO's AP and AR where all classes are one, of at most 100 detections an image.

    ``update(preds, targets)`` takes one mapping an image: ``boxes`` (n, 4) x0, y0, x1, y1, or for ``segm`` ``masks``
    bool (n, H, W); of predictions ``scores`` (n,); of targets perhaps ``iscrowd`` (n,), for which no detection is
    needed and none is wrong, and ``area`` (n,), which decides what is small and is else that of the box or mask.

    Args:
        kind: ``bbox`` or ``segm``.

    Raises:
        ValueError: if ``kind`` is neither.

    Source: Lin et al., "Microsoft COCO", ECCV 2014, as pycocotools computes it; class-agnostic as in CutLER.
    """

    def __init__(self, kind: Kind = "bbox", **kwargs: Any) -> None:
        if kind not in get_args(Kind):
            raise ValueError(f"kind must be bbox or segm, got {kind!r}")
        super().__init__(iou_type=kind, backend="pycocotools", **kwargs)
        self.kind = kind

    def update(self, preds: Sequence[Mapping[str, Tensor]], targets: Sequence[Mapping[str, Tensor]]) -> None:
        """Add a batch of images."""
        super().update([self._item(item) for item in preds], [self._item(item) for item in targets])

    def compute(self) -> dict[str, Tensor]:
        """Return ``ap``, ``ap50``, ``ap75``, ``ap_small``, ``ap_medium``, ``ap_large``, ``ar1``, ``ar10``, ``ar100``.

        They are nan where no target is of this size.
        """
        found = super().compute()
        scores = {key: torch.where(found[theirs] < 0, torch.nan, found[theirs]) for key, theirs in _KEYS.items()}
        if not any(map(len, self.detection_scores)) and any(map(len, self.groundtruth_labels)):
            # torchmetrics (1.9) has no figures of masks if none is predicted.
            scores |= {key: torch.zeros_like(scores[key]) for key in _OF_ALL_SIZES}
        return scores

    def _sync_dist(self, dist_sync_fn: Callable[..., Any] | None = None, process_group: Any = None) -> None:
        """Gather the images of all processes at once, whatever their shares.

        torchmetrics (1.9) takes a collective for each image, which fails or hangs where the shares differ. Images are
        taken in turn, as a distributed sampler deals them: AP depends on the order of equal scores.
        """
        group = process_group or self.process_group
        states = {name: list(map(_on_cpu, items)) for name, items in self.metric_state.items()}
        shares = [states] * dist.get_world_size(group)
        dist.all_gather_object(shares, states, group=group)
        for name in states:
            turns = zip_longest(*(share[name] for share in shares))
            setattr(self, name, [item for turn in turns for item in turn if item is not None])

    def _item(self, item: Mapping[str, Tensor]) -> dict[str, Tensor]:
        what = "boxes" if self.kind == "bbox" else "masks"
        others = {key: item[key] for key in ("scores", "iscrowd", "area") if key in item}
        return {what: item[what], "labels": item[what].new_zeros(len(item[what]), dtype=torch.int64), **others}


def _on_cpu(item: Any) -> Any:
    return item.cpu() if isinstance(item, Tensor) else item  # masks are tuples of run-length codes
