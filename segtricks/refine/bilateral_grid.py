"""The bilateral grid of images: cells of position and colour, as the vertices of one sparse graph."""

import warnings
from functools import cache

import torch
from torch import Tensor

# BT.601, rows Y, U, V; the offsets are 0, 128, 128.
_YUV = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
_ON_BORDER = 1e-9


class BilateralGrid:
    """Cells of x, y, luma and two chroma that hold a pixel, over a batch of images that share none.

    Args:
        image: (B, 3, H, W) uint8.
        sigma_spatial: side of a cell in pixels.
        sigma_luma: its height in luma, of 255.
        sigma_chroma: its sides in the two chroma.

    Source: Barron and Poole, "The Fast Bilateral Solver", ECCV 2016, section 2; Chen, Paris and Durand, "Real-time
    Edge-Aware Image Processing with the Bilateral Grid", 2007.
    """

    def __init__(self, image: Tensor, sigma_spatial: float, sigma_luma: float, sigma_chroma: float) -> None:
        batch, _, height, width = image.shape
        device = image.device
        self.dtype = torch.float32 if device.type == "mps" else torch.float64
        sigmas = (sigma_luma, sigma_chroma, sigma_chroma)
        color = [color_cells(image, channel, sigma, self.dtype) for channel, sigma in enumerate(sigmas)]
        rows = (torch.arange(height, device=device) / sigma_spatial).long()[None, :, None]
        columns = (torch.arange(width, device=device) / sigma_spatial).long()[None, None, :]
        images = torch.arange(batch, device=device)[:, None, None]
        # One number a cell; a free cell beyond each end of every axis keeps neighbours from wrapping around.
        key, strides, stride = torch.ones_like(color[0]), [], 1
        ends = (*(int(256 / sigma) + 3 for sigma in sigmas), int(rows.max()) + 3, int(columns.max()) + 3)
        for cells, end in zip((*color, rows, columns), ends, strict=True):
            key = key + (cells + 1) * stride
            strides.append(stride)
            stride *= end
        key = (key + images * stride).flatten()
        keys, self.vertex = torch.unique(key, return_inverse=True)
        self.count = len(keys)
        self.image = keys // stride
        self.lengths = torch.bincount(self.image, minlength=batch)
        self._columns, self._lengths = _neighbours(keys, strides)
        ones = torch.ones(len(self._columns), dtype=self.dtype, device=device)
        self.neighbours = _compressed_rows(self._columns, self._lengths, ones)

    def splat(self, pixels: Tensor) -> Tensor:
        """Sum the values of pixels (B, 1, H, W) in each cell: (count,)."""
        return torch.zeros(self.count, dtype=self.dtype, device=pixels.device).index_add_(
            0, self.vertex, pixels.to(self.dtype).flatten()
        )

    def slice(self, values: Tensor, shape: torch.Size) -> Tensor:
        """Give each pixel the value of its cell: (count,) to ``shape``."""
        return values[self.vertex].view(shape)

    def blur(self, values: Tensor) -> Tensor:
        """Sum over the five axes of the kernel 1 2 1, over cells that hold a pixel: (count,)."""
        return (2 * 5) * values + self.neighbours @ values

    def scaled_neighbours(self, scale: Tensor, factor: float) -> Tensor:
        """Return the adjacency with ``factor`` times the product of both cells' ``scale``: a sparse (count, count)."""
        rows = torch.arange(self.count, device=scale.device).repeat_interleave(self._lengths)
        values = scale[rows].mul_(scale[self._columns]).mul_(factor)
        return _compressed_rows(self._columns, self._lengths, values)

    def dot(self, left: Tensor, right: Tensor) -> Tensor:
        """Inner products of each image's cells: (B,)."""
        if len(self.lengths) == 1:
            return torch.dot(left, right)[None]
        return torch.segment_reduce(left * right, "sum", lengths=self.lengths)

    def spread(self, values: Tensor) -> Tensor:
        """Give each cell the value of its image: (B,) to (count,), or to (1,) where there is one image."""
        return values if len(values) == 1 else values[self.image]


def color_cells(image: Tensor, channel: int, sigma: float, dtype: torch.dtype) -> Tensor:
    """Return (B, H, W) int64 cells of one channel of YUV of images (B, 3, H, W) uint8.

    Grays, and every fourth colour or so, lie exactly on the border of a cell, and rounding decides their side. There it
    is done as a matrix product with fused multiply-add does it, hence as in the first implementation, on any hardware.
    """
    weights, offset = _YUV[channel], 128.0 if channel else 0.0
    red, green, blue = (image[:, i].to(dtype) for i in range(3))
    scaled = (red * weights[0] + green * weights[1] + blue * weights[2] + offset) / sigma
    on_border = ((scaled - scaled.round()).abs_() < _ON_BORDER).flatten().nonzero()[:, 0]
    red, green, blue = (color.flatten()[on_border] for color in (red, green, blue))
    exact = _fused(blue, weights[2], _fused(green, weights[1], red * weights[0]))
    return scaled.flatten().index_copy_(0, on_border, (exact + offset) / sigma).long().view(scaled.shape)


def _fused(factor: Tensor, weight: float, term: Tensor) -> Tensor:
    """``factor * weight + term`` rounded once, of integers up to 255: two exact partial products, Knuth's sum."""
    high = round(weight * 2**36) / 2**36
    product = factor * high
    total = product + term
    back = total - product
    lost = (product - (total - back)) + (term - back)
    return total + (lost + factor * (weight - high))


def _neighbours(keys: Tensor, strides: list[int]) -> tuple[Tensor, Tensor]:
    """Neighbours of the sorted cells ``keys``, cell after cell, and their number for each cell."""
    count = len(keys)
    table = torch.full((count, 2 * len(strides)), -1, device=keys.device)
    for axis, stride in enumerate(strides):
        low, high = _pairs(keys, stride)
        table[low, 2 * axis] = high
        table[high, 2 * axis + 1] = low
    there = table >= 0
    return table[there], there.sum(dim=1)


def _pairs(keys: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """Places of the keys that are ``stride`` apart, each pair once."""
    if stride == 1:
        low = (keys[1:] == keys[:-1] + 1).nonzero()[:, 0]
        return low, low + 1
    wanted = keys + stride
    place = torch.searchsorted(keys, wanted).clamp_max_(len(keys) - 1)
    low = (keys[place] == wanted).nonzero()[:, 0]
    return low, place[low]


def _compressed_rows(columns: Tensor, lengths: Tensor, values: Tensor) -> Tensor:
    """Sparse square matrix of its entries, row after row; each row has so many of them as ``lengths`` says."""
    count = len(lengths)
    if columns.device.type == "cpu" and not torch.backends.mkl.is_available():
        # Torch multiplies compressed rows on the CPU with MKL only.
        rows = torch.arange(count).repeat_interleave(lengths)
        return torch.sparse_coo_tensor(torch.stack([rows, columns]), values, (count, count), is_coalesced=True)
    _silence_beta_warning()
    ends = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    return torch.sparse_csr_tensor(ends, columns, values, (count, count))


@cache
def _silence_beta_warning() -> None:
    # Torch says once a process that compressed rows are in beta.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.sparse_csr_tensor(torch.tensor([0, 0]), torch.tensor([], dtype=torch.long), torch.tensor([]), (1, 1))
