"""The one table of measures: what each is called, which way is better, and where it is shown. It needs no torch."""

from typing import Literal, NamedTuple


class Measure(NamedTuple):
    """A measure of predictions.

    Args:
        name: its key in result files and tables.
        title: its column in tables for people.
        lower_is_better: as of an error.
        headline: whether the short table at the end of ``fit`` and ``test`` shows it.
        per_image: whether a single image has a value; the others are of curves over all images.
        of: what it is measured with.
    """

    name: str
    title: str
    lower_is_better: bool = False
    headline: bool = False
    per_image: bool = True
    of: Literal["masks", "boxes", "labels", "instances", "segments"] = "masks"


_ALL = (
    Measure("acc", "acc", headline=True),
    Measure("iou", "IoU", headline=True),
    Measure("max_fbeta", "max F", headline=True),
    Measure("mean_fbeta", "mean F", per_image=False),
    Measure("adaptive_fbeta", "adp F"),
    Measure("weighted_fbeta", "w F"),
    Measure("mae", "MAE", lower_is_better=True),
    Measure("s_measure", "S"),
    Measure("e_measure_max", "E max", per_image=False),
    Measure("e_measure_mean", "E mean", per_image=False),
    Measure("e_measure_adaptive", "E adp"),
    Measure("corloc", "CorLoc", headline=True, of="boxes"),
    Measure("kmeans_miou", "k-means mIoU", headline=True, per_image=False, of="labels"),
    Measure("kmeans_miou_present", "k-means mIoU, strict", headline=True, per_image=False, of="labels"),
    Measure("kmeans_accuracy", "k-means acc", per_image=False, of="labels"),
    Measure("overclustering_miou", "over-clustering mIoU", per_image=False, of="labels"),
    Measure("overclustering_miou_present", "over-clustering mIoU, strict", per_image=False, of="labels"),
    Measure("overclustering_miou_matched", "over-clustering mIoU, matched", per_image=False, of="labels"),
    Measure("retrieval_7_miou", "retrieval mIoU, 7", per_image=False, of="labels"),
    Measure("retrieval_miou", "retrieval mIoU", headline=True, per_image=False, of="labels"),
    Measure("retrieval_miou_present", "retrieval mIoU, strict", per_image=False, of="labels"),
    Measure("cluster_miou", "cluster mIoU", headline=True, per_image=False, of="labels"),
    Measure("cluster_accuracy", "cluster acc", headline=True, per_image=False, of="labels"),
    Measure("cluster_miou_train", "cluster mIoU, train", headline=True, per_image=False, of="labels"),
    Measure("cluster_accuracy_train", "cluster acc, train", per_image=False, of="labels"),
    Measure("cluster_miou_majority", "cluster mIoU, majority", per_image=False, of="labels"),
    Measure("cluster_accuracy_majority", "cluster acc, majority", per_image=False, of="labels"),
    Measure("cluster_miou_published", "cluster mIoU, published", per_image=False, of="labels"),
    Measure("cluster_accuracy_published", "cluster acc, published", per_image=False, of="labels"),
    Measure("linear_miou", "linear mIoU", headline=True, per_image=False, of="labels"),
    Measure("linear_miou_present", "linear mIoU, strict", per_image=False, of="labels"),
    Measure("box_ap", "box AP", per_image=False, of="instances"),
    Measure("box_ap50", "box AP50", headline=True, per_image=False, of="instances"),
    Measure("box_ar100", "box AR100", headline=True, per_image=False, of="instances"),
    Measure("mask_ap", "mask AP", per_image=False, of="instances"),
    Measure("mask_ap50", "mask AP50", headline=True, per_image=False, of="instances"),
    Measure("mask_ar100", "mask AR100", headline=True, per_image=False, of="instances"),
    Measure("pq", "PQ", headline=True, per_image=False, of="segments"),
    Measure("sq", "SQ", per_image=False, of="segments"),
    Measure("rq", "RQ", per_image=False, of="segments"),
    Measure("pq_things", "PQ things", headline=True, per_image=False, of="segments"),
    Measure("pq_stuff", "PQ stuff", headline=True, per_image=False, of="segments"),
    Measure("semantic_miou", "mIoU", headline=True, per_image=False, of="segments"),
    Measure("semantic_accuracy", "pixel acc", per_image=False, of="segments"),
)

MEASURES = {measure.name: measure for measure in _ALL}
"""Every measure by name, in the order of tables."""

MASK_MEASURES = tuple(measure.name for measure in _ALL if measure.of == "masks")
IMAGE_MEASURES = tuple(measure.name for measure in _ALL if measure.per_image and measure.of == "masks")
HEADLINES = tuple(measure.name for measure in _ALL if measure.headline)


def title(name: str) -> str:
    """Return a measure's column title; a name that is not in the table is its own."""
    return MEASURES[name].title if name in MEASURES else name
