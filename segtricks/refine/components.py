"""Connected components in the 4-neighbourhood: of a batch of masks on its device, and of one mask with boxes."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor


def label_components(mask: Tensor) -> Tensor:
    """Return (..., H, W) int64 labels of the 4-connected components of a boolean ``mask`` (..., H, W).

    0 is outside; the others are arbitrary, equal within a component and different between components, also between
    the masks of a batch. Every pixel points to a pixel of lower index in its component; hooking roots onto lower
    neighbours and halving the paths in turn takes a number of rounds about logarithmic in the size.

    Source: Shiloach and Vishkin, "An O(log n) parallel connectivity algorithm", J. Algorithms 1982.
    """
    flat = mask.flatten()
    outside = flat.numel()
    parent = torch.arange(outside + 1, device=mask.device)
    index = parent[:-1].view(mask.shape)
    across = mask[..., :, :-1] & mask[..., :, 1:]
    below = mask[..., :-1, :] & mask[..., 1:, :]
    low = torch.cat([index[..., :, :-1][across], index[..., :-1, :][below]])
    high = torch.cat([index[..., :, 1:][across], index[..., 1:, :][below]])
    while low.numel():
        low, high = parent[low], parent[high]
        apart = low != high
        low, high = low[apart], high[apart]
        if not low.numel():
            break
        low, high = torch.minimum(low, high), torch.maximum(low, high)
        parent.scatter_reduce_(0, high, low, "amin")
        while True:
            shorter = parent[parent]
            if torch.equal(shorter, parent):
                break
            parent = shorter
    return torch.where(mask, parent[:-1].view(mask.shape) + 1, 0)


def largest_component(mask: Tensor) -> Tensor:
    """Keep the 4-connected component with the most pixels of each boolean mask (B, 1, H, W), first of equals."""
    labels = label_components(mask).flatten(1)
    sizes = torch.bincount(labels.flatten(), minlength=mask.numel() + 1)
    sizes[0] = 0
    of_pixel = sizes[labels]
    first = labels.gather(1, of_pixel.argmax(dim=1, keepdim=True))
    return ((labels == first) & mask.flatten(1)).view(mask.shape)


def component_of(mask: Tensor, seed: Tensor) -> Tensor:
    """Keep the 4-connected component of each boolean mask (B, 1, H, W) that holds pixel ``seed`` (B,), row by row.

    Where the seed is outside the mask, nothing is kept.
    """
    labels = label_components(mask).flatten(1)
    return ((labels == labels.gather(1, seed[:, None])) & mask.flatten(1)).view(mask.shape)


def fill_holes(mask: Tensor) -> Tensor:
    """Add to each boolean mask (B, 1, H, W) what it encloses: the outside that has no 4-connected way to the border."""
    labels = label_components(~mask)
    edges = [labels[..., 0, :], labels[..., -1, :], labels[..., :, 0], labels[..., :, -1]]
    reached = torch.zeros(mask.numel() + 1, dtype=torch.bool, device=mask.device)
    reached[torch.cat([edge.flatten() for edge in edges])] = True
    return mask | ~reached[labels]


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
