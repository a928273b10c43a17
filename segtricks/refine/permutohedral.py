"""The permutohedral lattice: Gaussian filtering of values at points of a space of several dimensions."""

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from segtricks.errors import UserError


class PermutohedralLattice:
    """The vertices of the lattice around some points; :meth:`filter` sums values with weights of distance 1.

    In d dimensions each point lies in a simplex of d + 1 vertices. Values are splatted on these with barycentric
    weights, blurred along each of the d + 1 directions with the kernel 1/2 1 1/2 over the vertices that exist, and
    sliced back.

    Args:
        points: (N, d) float, in units of the Gaussian's standard deviation.

    Raises:
        UserError: the points are spread over more vertices than an integer counts.

    Source: Adams, Baek and Davis, "Fast High-Dimensional Filtering Using the Permutohedral Lattice", Eurographics 2010.
    """

    def __init__(self, points: Tensor) -> None:
        count, dims = points.shape
        nearest, rank, weights = _simplices(_elevated(points))
        keys, strides = _keys(nearest, rank)
        keys, order = keys.flatten().sort()
        keys, place, counts = keys.unique_consecutive(return_inverse=True, return_counts=True)
        vertex = torch.empty_like(place)
        vertex[order] = place
        self._vertex = vertex.view(count, dims + 1)
        self._weights = weights
        # Row by row of the transpose: which points lie around a vertex, and with which weights.
        self._points = order.div(dims + 1, rounding_mode="floor")
        self._point_weights = weights.flatten()[order]
        self._starts = counts.cumsum(0) - counts
        self._neighbours = _neighbours(keys, strides)
        self._share = 1 / (1 + 2.0**-dims)

    def filter(self, values: Tensor) -> Tensor:
        """Return the weighted sums over all points, each point's own value included: (N, n) to (N, n), float32."""
        vertices = embedding_bag(
            self._points, values.float(), self._starts, mode="sum", per_sample_weights=self._point_weights
        )
        padded = torch.cat([vertices, vertices.new_zeros(1, vertices.shape[1])])  # the last is where none exists
        for lower, upper in self._neighbours:
            padded[:-1] += 0.5 * (padded[lower] + padded[upper])
        return self._share * embedding_bag(self._vertex, padded, mode="sum", per_sample_weights=self._weights)


def _elevated(points: Tensor) -> Tensor:
    """Points (N, d) on the plane of d + 1 coordinates whose sum is 0, (N, d + 1)."""
    dims = points.shape[1]
    axis = torch.arange(1, dims + 1, device=points.device)
    scaled = points * ((2 / 3) ** 0.5 * (dims + 1) / (axis * (axis + 1)).sqrt())
    after = scaled.flip(1).cumsum(1).flip(1)
    zero = torch.zeros_like(after[:, :1])
    return torch.cat([after, zero], dim=1) - torch.cat([zero, axis * scaled], dim=1)


def _simplices(elevated: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of the simplex around each point the corner of remainder 0, the rank of each coordinate, and the weights.

    All are (N, d + 1). The corner of remainder r is r higher in each coordinate, and d + 1 lower in those whose rank is
    above d - r. Weights are those of the corners by remainder.
    """
    size = elevated.shape[1]
    nearest = (elevated / size).round_().long()
    excess = nearest.sum(dim=1, keepdim=True)
    nearest *= size
    order = (elevated - nearest).argsort(dim=1, descending=True, stable=True)
    rank = excess + torch.empty_like(order).scatter_(1, order, torch.arange(size, device=order.device).expand_as(order))
    wrap = ((rank < 0).long() - (rank >= size).long()) * size
    nearest, rank = nearest + wrap, rank + wrap
    residual = (elevated - nearest) / size
    by_rank = torch.empty_like(residual).scatter_(1, rank, residual).flip(1)
    before = torch.cat([by_rank[:, -1:] - 1, by_rank[:, :-1]], dim=1)
    return nearest, rank, by_rank - before


def _keys(nearest: Tensor, rank: Tensor) -> tuple[Tensor, Tensor]:
    """One number for each corner, (N, d + 1), and how far a step along each of the first d coordinates takes it.

    The last coordinate follows from the others, and does not count.
    """
    size = nearest.shape[1]
    kept = nearest[:, :-1]
    lowest = kept.amin(0) - 2 * size
    spans = (kept.amax(0) + 2 * size + 1 - lowest).tolist()
    steps, step = [], 1
    for span in spans:
        steps.append(step)
        step *= span
    if step >= 2**63:
        raise UserError("The standard deviations are too small for the image: pass larger ones.")
    strides = torch.tensor(steps, device=nearest.device)
    first = ((kept - lowest) * strides).sum(dim=1, keepdim=True)
    by_rank = torch.empty_like(rank).scatter_(1, rank, torch.tensor([*steps, 0], device=rank.device).expand_as(rank))
    lowered = by_rank.flip(1).cumsum(1).roll(1, 1)
    lowered[:, 0] = 0
    remainder = torch.arange(size, device=rank.device)
    return first + remainder * strides.sum() - size * lowered, strides


def _neighbours(keys: Tensor, strides: Tensor) -> list[tuple[Tensor, Tensor]]:
    """For each direction the two neighbours of every vertex in ``keys``, which are sorted; their number if none."""
    count, dims = len(keys), len(strides)
    own = torch.arange(count, device=keys.device)
    found = []
    for direction in range(dims + 1):
        along = strides[direction] * (dims + 1) if direction < dims else 0
        wanted = keys - strides.sum() + along
        place = torch.searchsorted(keys, wanted).clamp_max_(count - 1)
        exists = keys[place] == wanted
        lower = torch.where(exists, place, count)
        upper = torch.full_like(lower, count)
        upper[place[exists]] = own[exists]
        found.append((lower, upper))
    return found
