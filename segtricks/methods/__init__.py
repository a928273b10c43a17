"""LightningModules: they join backbone, head, losses, refinement and metrics."""

from segtricks.methods.base import Score, SegmentationModule
from segtricks.methods.sempart import LossWeights, Sempart

__all__ = ["LossWeights", "Score", "SegmentationModule", "Sempart"]
