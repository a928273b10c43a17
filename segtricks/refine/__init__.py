"""Refiners: pure functions that fit a soft mask to the edges of its image."""

from segtricks.refine.bilateral_solver import BILATERAL_PRESETS, BilateralSolver, bilateral_solver, hard_mask
from segtricks.refine.guided_filter import GuidedFilter, guided_filter
from segtricks.refine.small_segments import drop_small_segments

__all__ = [
    "BILATERAL_PRESETS",
    "BilateralSolver",
    "GuidedFilter",
    "bilateral_solver",
    "drop_small_segments",
    "guided_filter",
    "hard_mask",
]
