"""LightningModules: they join backbone, head, losses, refinement and metrics."""

from segtricks.methods.base import SegmentationModule
from segtricks.methods.discovery import Discovery
from segtricks.methods.found import Found
from segtricks.methods.given import GivenMasks
from segtricks.methods.maskcontrast import MaskContrast
from segtricks.methods.maskcut import MaskCut
from segtricks.methods.prototype_queue import PrototypeQueue
from segtricks.methods.selfmask import SelfMask
from segtricks.methods.sempart import LossWeights, Sempart
from segtricks.methods.stego import Stego
from segtricks.methods.u2seg import U2Seg

__all__ = [
    "Discovery",
    "Found",
    "GivenMasks",
    "LossWeights",
    "MaskContrast",
    "MaskCut",
    "PrototypeQueue",
    "SegmentationModule",
    "SelfMask",
    "Sempart",
    "Stego",
    "U2Seg",
]
