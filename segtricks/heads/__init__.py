"""Trainable heads: patch features, and for some the image, in; masks or codes out."""

from segtricks.heads.combine import CombinedMap, combine_panoptic
from segtricks.heads.found import FoundHead, load_found_head
from segtricks.heads.maskcontrast import MaskContrastHead, MaskContrastOutput, MaskContrastViTHead
from segtricks.heads.original import load_original_head
from segtricks.heads.original_maskcontrast import OriginalMaskContrast, load_original_maskcontrast
from segtricks.heads.original_selfmask import OriginalSelfMask, load_original_selfmask
from segtricks.heads.panoptic_fpn import NetworkSize, PanopticFPN
from segtricks.heads.selfmask import SelfMaskHead, SelfMaskOutput, select_query
from segtricks.heads.sempart import SempartHead, SempartOutput
from segtricks.heads.stego import ClusterAssignment, ClusterProbe, StegoHead

__all__ = [
    "ClusterAssignment",
    "ClusterProbe",
    "CombinedMap",
    "FoundHead",
    "MaskContrastHead",
    "MaskContrastOutput",
    "MaskContrastViTHead",
    "NetworkSize",
    "OriginalMaskContrast",
    "OriginalSelfMask",
    "PanopticFPN",
    "SelfMaskHead",
    "SelfMaskOutput",
    "SempartHead",
    "SempartOutput",
    "StegoHead",
    "combine_panoptic",
    "load_found_head",
    "load_original_head",
    "load_original_maskcontrast",
    "load_original_selfmask",
    "select_query",
]
