"""Votes of clusters for the classes that they lie on, as the published evaluation of U2Seg counts them.

:func:`segtricks.metrics.match_clusters` makes classes of them: by ``majority``, as published, or one to one.
"""

from torch import Tensor

from segtricks.metrics.matching import overlaps
from segtricks.metrics.semantic import label_counts


def box_votes(
    boxes: Tensor,
    clusters: Tensor,
    scores: Tensor,
    target_boxes: Tensor,
    target_classes: Tensor,
    *,
    num_clusters: int,
    num_classes: int,
    min_score: float = 0.6,
    min_iou: float = 0.7,
) -> Tensor:
    """Return the votes (num_clusters, num_classes) int64 of the detections of one image.

    Each of a score of at least ``min_score`` gives its cluster one vote for the class of each true box that it overlaps
    with an IoU above ``min_iou``.

    Args:
        boxes: (n, 4) x0, y0, x1, y1.
        clusters: (n,) from 0.
        scores: (n,).
        target_boxes: (m, 4), crowds included.
        target_classes: (m,) from 0.
        num_clusters: K.
        num_classes: C.
        min_score: of a detection that votes.
        min_iou: of what it votes for.
    """
    from torchvision.ops import box_iou  # takes half a second to import

    sure = scores >= min_score
    hits = box_iou(boxes[sure].double(), target_boxes.double()) > min_iou
    rows, columns = hits.nonzero(as_tuple=True)
    return label_counts(clusters[sure][rows], target_classes[columns], num_clusters, num_classes)


def stuff_votes(pred: Tensor, target: Tensor, *, num_clusters: int, num_classes: int, min_iou: float = 0.15) -> Tensor:
    """Return the votes (num_clusters, num_classes) int64 of the clusters of one image.

    Each cluster gives one vote for each class whose pixels it overlaps with an IoU above ``min_iou``.

    Args:
        pred: (H, W) clusters from 0; -1 is none.
        target: (H, W) classes from 0; -1 is none. Such pixels count in the IoU of the others.
        num_clusters: K.
        num_classes: C.
        min_iou: of what a cluster votes for.
    """
    counts = label_counts(pred + 1, target + 1, num_clusters + 1, num_classes + 1)
    return (overlaps(counts)[1:, 1:] > min_iou).long()
