"""All figures of one protocol over any number of images."""

from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from segtricks.metrics.apart import keep_apart
from segtricks.metrics.image_scores import VALUES, ImageScores, image_scores, threshold_count
from segtricks.metrics.protocols import PROTOCOLS, Protocol
from segtricks.metrics.thresholds import LEVELS, f_beta

SIZE_BINS = 20
METRICS = (
    "acc",
    "iou",
    "max_fbeta",
    "mean_fbeta",
    "adaptive_fbeta",
    "weighted_fbeta",
    "mae",
    "s_measure",
    "e_measure_max",
    "e_measure_mean",
    "e_measure_adaptive",
)


class SaliencyScores(Metric):
    """Every figure of one protocol: ``compute`` returns ``METRICS`` by name, float64 in [0, 1].

    One pass; the state is sums over images (float64) and counts (int64), of a size that depends neither on the images
    nor on their number. E is cut at 1, which a perfect map exceeds by 1/(pixels - 1) by its definition.

    ``update(pred, target)`` takes (B, 1, H, W): probabilities in [0, 1], and masks as bool, 0/1 or 0..255. Resizing
    and polarity are the caller's.

    Args:
        protocol: ``fullres`` by default.
    """

    full_state_update = False
    values: Tensor
    counted: Tensor
    images: Tensor
    precision: Tensor
    recall: Tensor
    f: Tensor
    alignment: Tensor
    bin_iou: Tensor
    bin_images: Tensor

    def __init__(self, protocol: Protocol | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.protocol = protocol or PROTOCOLS["fullres"]
        keep_apart(self, *asdict(self.protocol).values())
        thresholds = threshold_count(self.protocol)
        sums = {"values": len(VALUES), "precision": thresholds, "recall": thresholds, "f": thresholds}
        for name, size in (*sums.items(), ("alignment", LEVELS), ("bin_iou", SIZE_BINS)):
            self.add_state(name, torch.zeros(size, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("counted", torch.zeros(len(VALUES), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("bin_images", torch.zeros(SIZE_BINS, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("images", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, pred: Tensor, target: Tensor) -> None:
        """Score and add a batch of images of one size."""
        for i in range(len(pred)):
            self._sum(image_scores(pred[i : i + 1], target[i : i + 1], self.protocol))

    def add(self, image: ImageScores) -> None:
        """Add an image that was scored elsewhere by the same protocol."""
        self._computed = None
        self._update_count += 1
        self._sum(image)

    def compute(self) -> dict[str, Tensor]:
        """Return every figure; nan before the first image."""
        figures = dict(zip(VALUES, self.values / self.counted, strict=True))
        curve = self.f_curve()
        own = self.protocol.f_average == "own_maximum"
        e = self.alignment / self.images
        figures |= {"max_fbeta": figures["max_fbeta"] if own else curve.max(), "mean_fbeta": curve.mean()}
        figures |= {"e_measure_max": e.max(), "e_measure_mean": e.mean()}
        return {name: figures[name].clamp(max=1) for name in METRICS}

    def counts(self) -> tuple[int, int]:
        """Return the number of images, and of those empty in prediction and target, which have no IoU."""
        return int(self.images), int(self.images - self.counted[VALUES.index("iou")])

    def pr_curve(self) -> tuple[Tensor, Tensor]:
        """Return mean precision and recall over images at each threshold, (T,) each."""
        return self.precision / self.images, self.recall / self.images

    def f_curve(self) -> Tensor:
        """Return F at each threshold (T,), averaged over images as the protocol says."""
        if self.protocol.f_average == "precision_recall":
            return f_beta(*self.pr_curve(), self.protocol.beta2)
        return self.f / self.images

    def size_bins(self) -> list[dict[str, float | int | None]]:
        """Return mean IoU by the share of the image that the object covers, in equal bins from 0 to 1."""
        return [
            {
                "from": i / SIZE_BINS,
                "to": (i + 1) / SIZE_BINS,
                "images": count,
                "iou": float(total) / count if count else None,
            }
            for i, (total, count) in enumerate(zip(self.bin_iou.tolist(), self.bin_images.tolist(), strict=True))
        ]

    def _sum(self, image: ImageScores) -> None:
        known = ~image.values.isnan()
        self.values += image.values.nan_to_num(0.0)
        self.counted += known
        self.images += 1
        for name in ("precision", "recall", "f", "alignment"):
            getattr(self, name).add_(getattr(image, name))
        iou = VALUES.index("iou")
        place = (image.size * SIZE_BINS).long().clamp(max=SIZE_BINS - 1)
        self.bin_iou[place] += image.values[iou].nan_to_num(0.0)
        self.bin_images[place] += known[iou]
