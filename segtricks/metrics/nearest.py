"""The exact Euclidean distance transform, with the pixel it belongs to."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

Whole = NDArray[Any]  # int32


def nearest_foreground(mask: NDArray[np.bool_]) -> tuple[Whole, Whole, Whole]:
    """Find the foreground pixel nearest to every pixel; of equally near ones the left-most, then the upper.

    Args:
        mask: (H, W) bool with at least one foreground pixel.

    Returns:
        Squared distance, row and column of the nearest pixel, each (H, W) int32.

    Raises:
        ValueError: if the mask is empty.
    """
    if not mask.any():
        raise ValueError("an empty mask has no nearest foreground pixel")
    row, column = distance_transform_edt(~mask, return_distances=False, return_indices=True)
    across, along = np.arange(mask.shape[1], dtype=np.int32), np.arange(len(mask), dtype=np.int32)[:, None]
    return (column - across) ** 2 + (row - along) ** 2, row, column
