"""The words that options take. They need no torch, so that a parser can list them at once."""

from typing import Literal

Orientation = Literal["exif", "raw"]
"""What masks and boxes were drawn on: the upright photograph, or its pixels as they are stored."""

Polarity = Literal["image", "border", "batch", "none"]
"""Which masks are turned over, see :func:`segtricks.metrics.apply_polarity`."""

Select = Literal["largest_bbox", "largest_area", "seed"]
"""Which component of a mask gives its box, see :func:`segtricks.metrics.mask_box`."""

FEATURES = ("key", "query", "value", "token")
"""What patches are compared by."""

InstanceFeature = Literal["class_token", "mask"]
"""What masks are compared by: the class token of their crop, or the mean of its patches in the mask, of unit length."""

ROWS = {"none": "mask", "guided_filter": "mask + guided filter", "bilateral_solver": "mask + bilateral solver"}
"""What is scored and written, by the refiner of the mask."""

DISCOVERIES = ("tokencut", "lost", "deep_spectral", "found", "maskcut", "spectral_voting")
"""The training-free methods."""
