"""The dense conditional random field: a mask whose pixels agree with all others of like place and colour."""

from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from segtricks.errors import UserError
from segtricks.refine.permutohedral import PermutohedralLattice


@torch.no_grad()
def dense_crf(
    mask: Tensor,
    image: Tensor,
    *,
    sigma_smooth: float = 3,
    weight_smooth: float = 7,
    sigma_spatial: float = 50,
    sigma_color: float = 5,
    weight_color: float = 10,
    iterations: int = 10,
) -> Tensor:
    """Return the more likely label of each pixel after some iterations of mean field.

    The labels' prior probabilities are the softmax of 1 - mask and mask. An iteration is Q_i(l) ∝ exp(-U_i(l) +
    Σ_k w_k Σ_j K_k(i, j) Q_j(l)) over two Gaussian kernels, one of position and one of position and colour, each of
    them normalised on both sides and computed on a permutohedral lattice. Images are refined in parallel. An image
    takes up to 1 GB of memory for each megapixel.

    Args:
        mask: (B, 1, H, W) in [0, 1], soft or binary.
        image: (B, 3, H, W) in [0, 1], which is rounded to 8 bits; or (1, 3, H, W), the image of all masks, whose
            lattices are then built once.
        sigma_smooth: of the kernel of position, in pixels.
        weight_smooth: its weight.
        sigma_spatial: of the other kernel, in pixels.
        sigma_color: the same in the colours, of 255.
        weight_color: its weight.
        iterations: of mean field.

    Returns:
        (B, 1, H, W) float32 of 0 and 1.

    Raises:
        UserError: sizes that differ, or an option that is out of range.

    Source: Krähenbühl and Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials", NeurIPS
    2011. The defaults are CutLER's.
    """
    _check(mask, image, (sigma_smooth, sigma_spatial, sigma_color), (weight_smooth, weight_color, iterations))

    def solve(part: slice) -> Tensor:
        pixels = image[part if len(image) > 1 else slice(None)][0]
        kernels = [
            (weight_smooth, _Kernel(_places(pixels) / sigma_smooth)),
            (weight_color, _Kernel(torch.cat([_places(pixels) / sigma_spatial, _colors(pixels) / sigma_color], 1))),
        ]
        return _mean_field(mask[part], kernels, iterations)

    if len(image) == 1 or not len(mask):
        return solve(slice(None)) if len(mask) else mask.float()
    with ThreadPoolExecutor(max(1, torch.get_num_threads())) as pool:
        return torch.cat(list(pool.map(solve, [slice(i, i + 1) for i in range(len(mask))])))


class _Kernel:
    """n^-1/2 G n^-1/2 of the Gaussian kernel G of points (N, d), n being its row sums."""

    def __init__(self, points: Tensor) -> None:
        self._lattice = PermutohedralLattice(points)
        ones = points.new_ones(len(points), 1)
        self._scale = self._lattice.filter(ones).rsqrt_()
        self.row_sums = self(ones)

    def __call__(self, values: Tensor) -> Tensor:
        return self._scale * self._lattice.filter(self._scale * values)


def _mean_field(mask: Tensor, kernels: list[tuple[float, _Kernel]], iterations: int) -> Tensor:
    """Labels of masks (n, 1, H, W) that share the kernels."""
    # Of two labels, one probability says all: the logit of the prior is mask - (1 - mask).
    prior = 2 * mask.float().clamp(0, 1).flatten(1).T - 1
    logit = prior
    for _ in range(iterations):
        probability = logit.sigmoid()
        logit = prior
        for weight, kernel in kernels:
            logit = logit + weight * (2 * kernel(probability) - kernel.row_sums)
    return (logit > 0).float().T.reshape(mask.shape)


def _places(image: Tensor) -> Tensor:
    """Column and row of each pixel of an image (3, H, W): (N, 2)."""
    height, width = image.shape[-2:]
    rows = torch.arange(height, device=image.device, dtype=torch.float32)
    columns = torch.arange(width, device=image.device, dtype=torch.float32)
    return torch.stack([columns.repeat(height), rows.repeat_interleave(width)], dim=1)


def _colors(image: Tensor) -> Tensor:
    """Colours of an image (3, H, W) in whole numbers to 255: (N, 3)."""
    return (image.float().clamp(0, 1) * 255).round().flatten(1).T


def _check(mask: Tensor, image: Tensor, positive: tuple[float, ...], others: tuple[float, ...]) -> None:
    if mask.ndim != 4 or mask.shape[1] != 1:
        raise UserError(f"mask must be (B, 1, H, W), got {tuple(mask.shape)}.")
    if image.ndim != 4 or image.shape[1] != 3:
        raise UserError(f"image must be (B, 3, H, W), got {tuple(image.shape)}.")
    if len(image) not in (1, len(mask)) or mask.shape[2:] != image.shape[2:] or 0 in mask.shape[2:]:
        raise UserError(f"mask {tuple(mask.shape)} and image {tuple(image.shape)} differ in batch or size.")
    if not all(option > 0 for option in positive) or not all(option >= 0 for option in others):
        raise UserError(
            f"Standard deviations must be positive, weights and iterations not negative, got {positive} and {others}."
        )
