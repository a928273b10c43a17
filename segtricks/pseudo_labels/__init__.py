"""Pseudo-labels: the store that labelling methods write and training reads, and a page to look at them."""

from segtricks.data.label_entry import Entry, Mask, encode_mask, entry_names, write_entry, write_labels
from segtricks.data.label_store import Store, Summary
from segtricks.pseudo_labels.export import to_coco
from segtricks.pseudo_labels.kmeans import KMeansResult, kmeans
from segtricks.pseudo_labels.merge import PanopticMap, PanopticPrediction, merge_panoptic, semantic_target
from segtricks.pseudo_labels.page import write_page
from segtricks.pseudo_labels.selection import select_masks
from segtricks.pseudo_labels.source import add_source
from segtricks.pseudo_labels.stuff import cluster_stuff

__all__ = [
    "Entry",
    "KMeansResult",
    "Mask",
    "PanopticMap",
    "PanopticPrediction",
    "Store",
    "Summary",
    "add_source",
    "cluster_stuff",
    "encode_mask",
    "entry_names",
    "kmeans",
    "merge_panoptic",
    "select_masks",
    "semantic_target",
    "to_coco",
    "write_entry",
    "write_labels",
    "write_page",
]
