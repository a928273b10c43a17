"""Unsupervised image segmentation: Sempart, multi-scale consistency and guided filtering."""

__version__ = "0.1.0"
