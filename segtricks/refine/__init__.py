"""Refiners: pure functions that fit a mask to the edges of its image."""

from segtricks.refine.bilateral_solver import BILATERAL_PRESETS, BilateralSolver, bilateral_solver, hard_mask
from segtricks.refine.dense_crf import DenseCRF, dense_crf, dense_crf_labels
from segtricks.refine.guided_filter import GuidedFilter, guided_filter
from segtricks.refine.small_segments import drop_small_segments

__all__ = [
    "BILATERAL_PRESETS",
    "BilateralSolver",
    "DenseCRF",
    "GuidedFilter",
    "bilateral_solver",
    "dense_crf",
    "dense_crf_labels",
    "drop_small_segments",
    "guided_filter",
    "hard_mask",
]
