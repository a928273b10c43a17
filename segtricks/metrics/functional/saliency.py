"""Every measure of one image by one protocol, and their sums over any number of images."""

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from segtricks.metrics.functional.alignment import enhanced_alignment
from segtricks.metrics.functional.masks import binary_target, check_masks, stretch
from segtricks.metrics.functional.overlap import mask_iou, mean_absolute_error, pixel_accuracy
from segtricks.metrics.functional.structure import structure_measure
from segtricks.metrics.functional.weighted import weighted_fbeta
from segtricks.metrics.measures import IMAGE_MEASURES, MASK_MEASURES
from segtricks.metrics.protocols import PROTOCOLS, Protocol
from segtricks.metrics.thresholds import (
    LEVELS,
    adaptive_counts,
    f_beta,
    level_counts,
    precision_recall,
    threshold_counts,
)
from segtricks.refine.components import connected_components


@dataclass(frozen=True)
class ImageScores:
    """Measures of one image.

    Args:
        values: (8,) float64 in the order of ``IMAGE_MEASURES``; IoU is nan where prediction and target are both empty,
            unless the protocol counts it, and ``max_fbeta`` is the image's own maximum.
        precision: (T,) at each threshold of the protocol.
        recall: (T,)
        f: (T,)
        alignment: (256,) E at each level.
        size: share of the image that the target covers.
    """

    values: Tensor
    precision: Tensor
    recall: Tensor
    f: Tensor
    alignment: Tensor
    size: Tensor

    @property
    def iou(self) -> float:
        """Intersection over union; nan where prediction and target are both empty."""
        return float(self.values[IMAGE_MEASURES.index("iou")])

    def to(self, device: torch.device) -> "ImageScores":
        """Return the same, on a device."""
        return ImageScores(*(getattr(self, each.name).to(device) for each in fields(self)))

    def brief(self) -> "ImageScores":
        """Return the values and the size alone, on the CPU, to keep for every image."""
        none = torch.empty(0, dtype=torch.float64)
        return ImageScores(self.values.cpu(), none, none, none, none, self.size.cpu())


def image_scores(pred: Tensor, target: Tensor, protocol: Protocol) -> ImageScores:
    """Score one image.

    Args:
        pred: (1, 1, H, W) probabilities in [0, 1].
        target: (1, 1, H, W), bool, 0/1 or 0..255.
        protocol: its choices on resizing and polarity are the caller's to follow.

    Raises:
        ValueError: if a shape or dtype is wrong.
    """
    check_masks(pred, target)
    pred = stretch(pred) if protocol.stretch else pred
    pred = _keep_largest(pred, protocol.threshold) if protocol.components == "largest" else pred
    same = protocol.target_threshold == protocol.f_target_threshold
    truth = binary_target(target, protocol.target_threshold)
    f_truth = truth if same else binary_target(target, protocol.f_target_threshold)
    foreground = pred > protocol.threshold
    iou = mask_iou(foreground, truth)[0]
    if protocol.iou_empty == "zero":
        iou = iou.nan_to_num(0.0)
    levels, adaptive = level_counts(pred, truth), adaptive_counts(pred, truth)
    f_levels, f_adaptive = (levels, adaptive) if same else (level_counts(pred, f_truth), adaptive_counts(pred, f_truth))
    relevant, f_relevant = (mask.sum().double().reshape(1, 1) for mask in (truth, f_truth))
    counts = f_levels if protocol.f_compare == "level" else _above(pred, f_truth, f_levels)
    precision, recall = precision_recall(*counts, f_relevant, protocol.f_empty)
    f = f_beta(precision, recall, protocol.beta2)[0]
    values = (
        pixel_accuracy(foreground, truth)[0],
        iou,
        f.max(),
        f_beta(*precision_recall(*f_adaptive, f_relevant, protocol.f_empty), protocol.beta2)[0, 0],
        weighted_fbeta(pred, truth)[0],
        mean_absolute_error(pred, truth)[0],
        structure_measure(pred, truth)[0],
        enhanced_alignment(*adaptive, relevant, truth.numel())[0, 0],
    )
    alignment = enhanced_alignment(*levels, relevant, truth.numel())[0]
    size = relevant[0, 0] / truth.numel()
    return ImageScores(torch.stack(values), precision[0], recall.expand_as(precision)[0], f, alignment, size)


def threshold_count(protocol: Protocol) -> int:
    """Return the number of thresholds of the protocol's F-measure."""
    return 255 if protocol.f_compare == "above" else 256


def _keep_largest(pred: Tensor, threshold: float) -> Tensor:
    """Return ``pred`` (1, 1, H, W) with 0 outside the largest 4-connected component of ``pred > threshold``."""
    components = connected_components((pred[0, 0] > threshold).cpu().numpy())
    index = components.largest()
    keep = np.zeros_like(components.labels, bool) if index is None else components.mask(index)
    return pred * torch.from_numpy(keep).to(pred.device)


def _above(pred: Tensor, truth: Tensor, levels: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    scaled = pred * 255
    # A map of 8 bits exceeds k/255 where its level is k + 1 or more: no second histogram is needed.
    if torch.equal(scaled, scaled.floor()):
        return levels[0][:, 1:], levels[1][:, 1:]
    return threshold_counts(pred, truth)


SIZE_BINS = 20
"""Of the share of an image that its object covers."""


def empty_sums(protocol: Protocol) -> dict[str, Tensor]:
    """Return the state of :class:`SaliencySums` before the first image, by name."""
    thresholds = threshold_count(protocol)
    sums = {"values": len(IMAGE_MEASURES), "precision": thresholds, "recall": thresholds, "f": thresholds}
    sums |= {"alignment": LEVELS, "bin_iou": SIZE_BINS}
    counts = {"counted": (len(IMAGE_MEASURES),), "bin_images": (SIZE_BINS,), "images": ()}
    state = {name: torch.zeros(size, dtype=torch.float64) for name, size in sums.items()}
    return state | {name: torch.zeros(shape, dtype=torch.int64) for name, shape in counts.items()}


class SaliencySums:
    """Every figure of one protocol: ``compute`` returns ``MASK_MEASURES`` by name, float64 in [0, 1].

    One pass; the state is sums over images (float64) and counts (int64), of a size that depends neither on the images
    nor on their number. E is cut at 1, which a perfect map exceeds by 1/(pixels - 1) by its definition.
    As a torchmetrics class: :class:`segtricks.metrics.SaliencyScores`.

    Args:
        protocol: ``fullres`` by default.
    """

    values: Tensor
    counted: Tensor
    images: Tensor
    precision: Tensor
    recall: Tensor
    f: Tensor
    alignment: Tensor
    bin_iou: Tensor
    bin_images: Tensor

    def __init__(self, protocol: Protocol | None = None) -> None:
        self.protocol = protocol or PROTOCOLS["fullres"]
        for name, zeros in empty_sums(self.protocol).items():
            setattr(self, name, zeros)

    def update(self, pred: Tensor, target: Tensor) -> None:
        """Score and add a batch of images (B, 1, H, W) of one size, see :func:`image_scores`."""
        for i in range(len(pred)):
            self._sum(image_scores(pred[i : i + 1], target[i : i + 1], self.protocol))

    def add(self, image: ImageScores) -> None:
        """Add an image that was scored elsewhere by the same protocol."""
        self._sum(image)

    def merge(self, other: "SaliencySums") -> None:
        """Add the images of other sums by the same protocol."""
        for name in empty_sums(self.protocol):
            getattr(self, name).add_(getattr(other, name))

    def compute(self) -> dict[str, Tensor]:
        """Return every figure; nan before the first image."""
        figures = dict(zip(IMAGE_MEASURES, self.values / self.counted, strict=True))
        curve = self.f_curve()
        own = self.protocol.f_average == "own_maximum"
        e = self.alignment / self.images
        figures |= {"max_fbeta": figures["max_fbeta"] if own else curve.max(), "mean_fbeta": curve.mean()}
        figures |= {"e_measure_max": e.max(), "e_measure_mean": e.mean()}
        return {name: figures[name].clamp(max=1) for name in MASK_MEASURES}

    def counts(self) -> tuple[int, int]:
        """Return the number of images, and of those empty in prediction and target, which have no IoU."""
        return int(self.images), int(self.images - self.counted[IMAGE_MEASURES.index("iou")])

    def pr_curve(self) -> tuple[Tensor, Tensor]:
        """Return mean precision and recall over images at each threshold, (T,) each."""
        return self.precision / self.images, self.recall / self.images

    def f_curve(self) -> Tensor:
        """Return F at each threshold (T,), averaged over images as the protocol says."""
        if self.protocol.f_average == "precision_recall":
            return f_beta(*self.pr_curve(), self.protocol.beta2)
        return self.f / self.images

    def curves(self) -> dict[str, list[float]]:
        """Return ``precision``, ``recall`` and ``f`` at each threshold."""
        precision, recall = self.pr_curve()
        curves = {"precision": precision, "recall": recall, "f": self.f_curve()}
        return {name: curve.tolist() for name, curve in curves.items()}

    def size_bins(self) -> list[dict[str, float | int | None]]:
        """Return mean IoU by the share of the image that the object covers, in equal bins from 0 to 1."""
        totals, counts = self.bin_iou.tolist(), self.bin_images.tolist()
        edges = [i / SIZE_BINS for i in range(SIZE_BINS + 1)]
        means = [total / count if count else None for total, count in zip(totals, counts, strict=True)]
        keys = ("from", "to", "images", "iou")
        bins = zip(edges[:-1], edges[1:], counts, means, strict=True)
        return [dict(zip(keys, values, strict=True)) for values in bins]

    def _sum(self, image: ImageScores) -> None:
        image = image.to(self.values.device)
        known = ~image.values.isnan()
        self.values += image.values.nan_to_num(0.0)
        self.counted += known
        self.images += 1
        for name in ("precision", "recall", "f", "alignment"):
            getattr(self, name).add_(getattr(image, name))
        iou = IMAGE_MEASURES.index("iou")
        place = (image.size * SIZE_BINS).long().clamp(max=SIZE_BINS - 1)
        self.bin_iou[place] += image.values[iou].nan_to_num(0.0)
        self.bin_images[place] += known[iou]
