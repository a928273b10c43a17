"""Scores of saliency masks as torchmetrics classes, and the named protocols that combine them."""

from segtricks.metrics.alignment import EnhancedAlignmentMeasure, enhanced_alignment
from segtricks.metrics.corloc import CorLoc, mask_box
from segtricks.metrics.fbeta import MaxFBeta
from segtricks.metrics.overlap import MaskIoU, MeanAbsoluteError, PixelAccuracy, mean_absolute_error
from segtricks.metrics.polarity import apply_polarity, background_evidence, border_mean
from segtricks.metrics.protocols import PROTOCOLS, Protocol, get_protocol
from segtricks.metrics.saliency import METRICS, ImageScores, SaliencyScores, image_scores
from segtricks.metrics.structure import StructureMeasure, structure_measure
from segtricks.metrics.weighted_fbeta import WeightedFBeta, weighted_fbeta
from segtricks.refine.components import Components, connected_components

__all__ = [
    "METRICS",
    "PROTOCOLS",
    "Components",
    "CorLoc",
    "EnhancedAlignmentMeasure",
    "ImageScores",
    "MaskIoU",
    "MaxFBeta",
    "MeanAbsoluteError",
    "PixelAccuracy",
    "Protocol",
    "SaliencyScores",
    "StructureMeasure",
    "WeightedFBeta",
    "apply_polarity",
    "background_evidence",
    "border_mean",
    "connected_components",
    "enhanced_alignment",
    "get_protocol",
    "image_scores",
    "mask_box",
    "mean_absolute_error",
    "structure_measure",
    "weighted_fbeta",
]
