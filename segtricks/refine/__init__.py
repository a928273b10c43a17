"""Refiners: pure functions that fit a soft mask to the edges of its image."""

from segtricks.refine.guided_filter import GuidedFilter, guided_filter

__all__ = ["GuidedFilter", "guided_filter"]
