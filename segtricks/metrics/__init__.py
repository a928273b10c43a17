"""Scores of saliency masks as torchmetrics classes, and the named protocols that combine them."""

from segtricks.metrics.fbeta import MaxFBeta
from segtricks.metrics.overlap import MaskIoU, PixelAccuracy
from segtricks.metrics.protocols import PROTOCOLS, Protocol, SaliencyScores, apply_polarity, get_protocol

__all__ = [
    "PROTOCOLS",
    "MaskIoU",
    "MaxFBeta",
    "PixelAccuracy",
    "Protocol",
    "SaliencyScores",
    "apply_polarity",
    "get_protocol",
]
