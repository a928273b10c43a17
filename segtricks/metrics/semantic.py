"""Mean IoU over classes, from one confusion matrix of all images."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from segtricks.metrics.base import keep_apart
from segtricks.metrics.matching import By, Matching, match_clusters


class SemanticIoU(Metric):
    """Mean over classes of the intersection over union, and pixel accuracy, of label maps.

    ``update(pred, target)`` takes integers (B, H, W): classes, or clusters that ``compute`` matches to the classes.
    Only their counts are kept, whatever the number of images.

    Args:
        num_classes: classes of the target, 0 to ``num_classes - 1``.
        num_clusters: clusters of the prediction; None is as many as classes.
        matching: how clusters become classes, see :func:`segtricks.metrics.match_clusters`; None where the prediction
            holds classes.
        ignore_index: value of target pixels that do not count. Predicted pixels of -1, or of this value where it is not
            a cluster, are wrong in every class, as are those of clusters without one.
        by: what the matching compares.

    Raises:
        ValueError: clusters without a matching that are not as many as the classes.

    Source: the mean with absent classes as 0 is MaskContrast's, that over the classes of the target U2Seg's.
    """

    full_state_update = False
    higher_is_better = True
    confusion: Tensor

    def __init__(
        self,
        num_classes: int,
        num_clusters: int | None = None,
        matching: Matching | None = None,
        ignore_index: int = 255,
        by: By = "iou",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        clusters = num_classes if num_clusters is None else num_clusters
        if matching is None and clusters != num_classes:
            raise ValueError(f"{clusters} clusters are not {num_classes} classes: pass a matching")
        self.num_classes, self.num_clusters = num_classes, clusters
        self.matching, self.ignore_index, self.by = matching, ignore_index, by
        # The last row is of pixels without a prediction.
        self.add_state("confusion", torch.zeros(clusters + 1, num_classes, dtype=torch.int64), dist_reduce_fx="sum")
        keep_apart(self, num_classes, clusters, matching, ignore_index, by)

    def update(self, pred: Tensor, target: Tensor) -> None:
        """Add a batch of images; a ``ValueError`` for other shapes or values."""
        if pred.shape != target.shape or pred.is_floating_point() or target.is_floating_point():
            raise ValueError(
                f"pred and target must be integers of one shape, got {pred.dtype} {tuple(pred.shape)} and "
                f"{target.dtype} {tuple(target.shape)}"
            )
        counted = target != self.ignore_index
        clusters, classes = pred[counted].long(), target[counted].long()
        clusters[clusters == -1] = self.num_clusters
        if not 0 <= self.ignore_index < self.num_clusters:
            clusters[clusters == self.ignore_index] = self.num_clusters
        _check_range("pred", clusters, self.num_clusters + 1)
        _check_range("target", classes, self.num_classes)
        self.add(label_counts(clusters, classes, self.num_clusters + 1, self.num_classes))

    def add(self, counts: Tensor) -> None:
        """Add pixels counted elsewhere, (clusters, classes); a further row is of pixels without a cluster."""
        self._computed = None
        self._update_count += 1
        self.confusion[: len(counts)] += counts.to(self.confusion.device)

    def compute(self) -> dict[str, Tensor]:
        """Return the scores of all images.

        Returns:
            ``miou``, in which a class that is absent from the target counts 0, ``miou_present``, in which it is left
            out, ``per_class`` (classes,), and ``accuracy``, all float64; and ``mapping`` (clusters,) int64, the class
            of each cluster or -1.
        """
        mapping = torch.arange(self.num_clusters, device=self.confusion.device)
        if self.matching is not None:
            mapping = match_clusters(self.confusion[:-1], self.matching, self.by)
        return semantic_scores(self.confusion, mapping)


def semantic_scores(confusion: Tensor, mapping: Tensor) -> dict[str, Tensor]:
    """Return what :meth:`SemanticIoU.compute` does.

    Args:
        confusion: (clusters, classes) counts; further rows are of pixels without a cluster.
        mapping: (clusters,) the class of each cluster, or -1.
    """
    counts = confusion.double()
    mapped = torch.zeros(counts.shape[1] + 1, counts.shape[1], dtype=torch.float64, device=counts.device)
    mapped.index_add_(0, mapping % len(mapped), counts[: len(mapping)])
    correct = mapped.diagonal()
    target = counts.sum(dim=0)
    union = mapped[:-1].sum(dim=1) + target - correct
    per_class = correct / union.clamp_min(1)
    return {
        "miou": per_class.mean(),
        "miou_present": per_class[target > 0].mean(),
        "per_class": per_class,
        "accuracy": correct.sum() / target.sum(),
        "mapping": mapping,
    }


def label_counts(clusters: Tensor, classes: Tensor, num_clusters: int, num_classes: int) -> Tensor:
    """Return how many pixels each cluster and class share, int64 (num_clusters, num_classes), of integers in range."""
    pairs = clusters.flatten().long() * num_classes + classes.flatten().long()
    return torch.bincount(pairs, minlength=num_clusters * num_classes).view(num_clusters, num_classes)


def _check_range(what: str, values: Tensor, count: int) -> None:
    if values.numel() and not 0 <= int(values.min()) <= int(values.max()) < count:
        raise ValueError(f"{what} holds {int(values.min())} to {int(values.max())}, outside 0 to {count - 1}")
