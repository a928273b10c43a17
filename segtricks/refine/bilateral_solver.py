"""The fast bilateral solver: a mask that is smooth where position and colour are close."""

from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from segtricks.errors import UserError
from segtricks.refine.bilateral_grid import BilateralGrid
from segtricks.refine.components import fill_holes, largest_component

_BISTOCHASTIC_ROUNDS = 10
_DIAGONAL_FLOOR = 1e-5
_TOLERANCE = 1e-5


@torch.no_grad()
def bilateral_solver(
    mask: Tensor,
    image: Tensor,
    sigma_spatial: float = 24,
    sigma_luma: float = 4,
    sigma_chroma: float = 4,
    *,
    smoothness: float = 256.0,
    confidence: float = 0.999,
    iterations: int = 25,
) -> Tensor:
    """Return the mask that is close to ``mask`` and nearly equal in neighbouring cells of the bilateral grid.

    Minimises λ/2 Σ W_ij (x_i - x_j)² + Σ c (x_i - t_i)² over the cells, W being the bistochastised blur of the grid (10
    rounds), by conjugate gradients with the diagonal as preconditioner, until the residual is below 1e-5 of the right
    side. In float64. Images are solved in parallel: as one system on a GPU, in threads on a CPU.

    Args:
        mask: (B, 1, H, W) in [0, 1], soft or binary.
        image: (B, 3, H, W) or (B, 1, H, W) in [0, 1]; it is rounded to 8 bits.
        sigma_spatial: side of a cell in pixels.
        sigma_luma: its height in luma, of 255.
        sigma_chroma: its sides in the two chroma.
        smoothness: λ.
        confidence: c, the same for all pixels.
        iterations: of conjugate gradients, at most.

    Returns:
        (B, 1, H, W) float32. Values can leave [0, 1] by a little. :func:`hard_mask` makes it binary.

    Raises:
        UserError: if the sizes differ or an option is not positive.

    Source: Barron and Poole, "The Fast Bilateral Solver", ECCV 2016, sections 2 and 3. The defaults are those of "Two
    Tricks"; TokenCut, MOVE and FOUND take 16, 16, 8.
    """
    options = (sigma_spatial, sigma_luma, sigma_chroma, smoothness, confidence, iterations)
    _check(mask, image, options)
    rgb = (image.float().clamp(0, 1) * 255).round().to(torch.uint8).expand(-1, 3, -1, -1)

    def solve(part: slice) -> Tensor:
        grid = BilateralGrid(rgb[part], sigma_spatial, sigma_luma, sigma_chroma)
        return _solve(grid, mask[part], smoothness, confidence, iterations)

    if mask.device.type != "cpu" or len(mask) < 2:
        return solve(slice(None)) if len(mask) else mask.float()
    with ThreadPoolExecutor(min(len(mask), torch.get_num_threads())) as pool:
        return torch.cat(list(pool.map(solve, [slice(i, i + 1) for i in range(len(mask))])))


def hard_mask(soft: Tensor) -> Tensor:
    """Return the largest 4-connected component of ``soft`` > 0.5 with its holes filled first.

    Takes (B, 1, H, W), gives (B, 1, H, W) float32 of 0 and 1, without foreground where nothing exceeds 0.5.
    """
    return largest_component(fill_holes(soft > 0.5)).float()


def _solve(grid: BilateralGrid, target: Tensor, smoothness: float, confidence: float, iterations: int) -> Tensor:
    mass = grid.splat(torch.ones_like(target, dtype=grid.dtype))
    scale = torch.ones_like(mass)
    for _ in range(_BISTOCHASTIC_ROUNDS):
        scale = (scale * mass / grid.blur(scale)).sqrt_()
    rows = scale * grid.blur(scale)
    data = mass * confidence

    # Of the system's matrix, what is on its diagonal and what is not.
    diagonal, others = smoothness * (rows - 10 * scale * scale) + data, grid.scaled_neighbours(scale, -smoothness)

    def system(x: Tensor) -> Tensor:
        return torch.addcmul(others @ x, diagonal, x)

    right = grid.splat(target) * confidence
    inverse = diagonal.clamp_min(_DIAGONAL_FLOOR).reciprocal_()
    x = right / data
    residual = right - system(x)
    limit = _TOLERANCE * grid.dot(right, right).sqrt()
    direction, before = torch.zeros_like(x), torch.ones_like(limit)
    for _ in range(iterations):
        running = grid.dot(residual, residual).sqrt() > limit
        if not bool(running.any()):
            break
        step = residual * inverse
        now = grid.dot(residual, step)
        # An image that has arrived stays where it is; its quotients may by then be 0/0.
        direction = torch.addcmul(step, grid.spread(torch.where(running, now / before, 0.0)), direction)
        moved = system(direction)
        length = grid.spread(torch.where(running, now / grid.dot(direction, moved), 0.0))
        x.addcmul_(length, direction)
        residual.addcmul_(length, moved, value=-1)
        before = now
    return grid.slice(x, target.shape).float()


def _check(mask: Tensor, image: Tensor, options: tuple[float, ...]) -> None:
    if mask.ndim != 4 or mask.shape[1] != 1:
        raise UserError(f"mask must be (B, 1, H, W), got {tuple(mask.shape)}.")
    if image.ndim != 4 or image.shape[1] not in (1, 3):
        raise UserError(f"image must be (B, 3, H, W) or (B, 1, H, W), got {tuple(image.shape)}.")
    if (mask.shape[0], *mask.shape[2:]) != (image.shape[0], *image.shape[2:]) or 0 in mask.shape[2:]:
        raise UserError(f"mask {tuple(mask.shape)} and image {tuple(image.shape)} differ in batch or size.")
    if not all(option > 0 for option in options):
        raise UserError(f"Cell sizes, smoothness, confidence and iterations must be positive, got {options}.")
