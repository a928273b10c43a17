"""Trainable heads: patch features and the image in, mask logits out."""

from segtricks.heads.found import FoundHead, load_found_head
from segtricks.heads.original import load_original_head
from segtricks.heads.selfmask import SelfMaskHead, SelfMaskOutput, select_query
from segtricks.heads.sempart import SempartHead, SempartOutput

__all__ = [
    "FoundHead",
    "SelfMaskHead",
    "SelfMaskOutput",
    "SempartHead",
    "SempartOutput",
    "load_found_head",
    "load_original_head",
    "select_query",
]
