"""Connected components of a mask in the 4-neighbourhood."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Ints = NDArray[np.int64]


class Components(NamedTuple):
    """Components in the order of their first pixel, row by row.

    Args:
        area: (n,) pixels.
        boxes: (n, 4) half-open x0, y0, x1, y1.
        labels: (H, W), 0 on the background, and 1 + the component's place elsewhere.
    """

    area: Ints
    boxes: Ints
    labels: NDArray[np.int32]

    def mask(self, index: int) -> NDArray[np.bool_]:
        """Return one component as a mask (H, W)."""
        return self.labels == index + 1

    def at(self, row: int, column: int) -> int | None:
        """Return the component that holds a pixel, None on the background."""
        return int(self.labels[row, column]) - 1 if self.labels[row, column] else None

    def largest(self) -> int | None:
        """Return the component of the largest area, the first of several; None where there is none."""
        return int(self.area.argmax()) if len(self.area) else None


def connected_components(mask: NDArray[np.bool_]) -> Components:
    """Find the 4-connected components of a mask (H, W) bool."""
    labels, count = ndimage.label(mask)
    boxes = [[x.start, y.start, x.stop, y.stop] for y, x in ndimage.find_objects(labels)]
    area = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    return Components(area, np.array(boxes, np.int64).reshape(-1, 4), labels)
