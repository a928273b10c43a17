"""Trainable heads: patch features and the image in, mask logits out."""

from segtricks.heads.original import load_original_head
from segtricks.heads.sempart import SempartHead, SempartOutput

__all__ = ["SempartHead", "SempartOutput", "load_original_head"]
