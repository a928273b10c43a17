"""Refiners: pure functions that fit a soft mask to the edges of its image."""

from segtricks.refine.bilateral_solver import BILATERAL_PRESETS, BilateralSolver, bilateral_solver, hard_mask
from segtricks.refine.guided_filter import GuidedFilter, guided_filter

__all__ = ["BILATERAL_PRESETS", "BilateralSolver", "GuidedFilter", "bilateral_solver", "guided_filter", "hard_mask"]
