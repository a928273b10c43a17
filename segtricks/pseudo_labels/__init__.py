"""Pseudo-labels: the store that labelling methods write and training reads, and a page to look at them."""

from segtricks.data.label_entry import Entry, Mask, encode_mask, entry_names, write_entry, write_labels
from segtricks.data.label_store import Store, Summary
from segtricks.pseudo_labels.export import to_coco
from segtricks.pseudo_labels.page import write_page

__all__ = [
    "Entry",
    "Mask",
    "Store",
    "Summary",
    "encode_mask",
    "entry_names",
    "to_coco",
    "write_entry",
    "write_labels",
    "write_page",
]
