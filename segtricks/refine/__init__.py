"""Refiners: pure functions that fit a mask to the edges of its image."""

from segtricks.refine.bilateral_solver import BILATERAL_PRESETS, BilateralSolver, bilateral_solver, hard_mask
from segtricks.refine.dense_crf import DenseCRF, dense_crf
from segtricks.refine.guided_filter import GuidedFilter, guided_filter

__all__ = [
    "BILATERAL_PRESETS",
    "BilateralSolver",
    "DenseCRF",
    "GuidedFilter",
    "bilateral_solver",
    "dense_crf",
    "guided_filter",
    "hard_mask",
]
