"""Smallest generalised eigenvectors of graphs, many graphs at once and without a dense solve."""

from typing import NamedTuple

import torch
from torch import Tensor

_DENSE_BELOW = 200  # patches up to which a dense solve is quicker than the iteration
_BASIS = 160  # vectors of the Krylov basis, at most; what has not converged by then is solved densely
_ACCURACY = 1e-7  # angle between a vector and the true one, in radians
_RESIDUAL = 1e-10  # good enough however close the next eigenvalue: the limit of float64
_FLAT = 1e-6  # eigenvalues that spread less than this are one


class Spectrum(NamedTuple):
    """The smallest eigenpairs of (D - W) v = λ D v, the first of them the constant vector with λ = 0.

    ``values`` (B, K) ascending and ``vectors`` (B, N, K), float64, vᵀDv = 1, the largest entry of each positive;
    ``flat`` (B,) marks graphs whose other eigenvalues are all equal, so that no vector means more than another: one
    block of equal weights, or no edges at all. ``dense`` (B,) marks those that needed the dense solver.
    """

    values: Tensor
    vectors: Tensor
    flat: Tensor
    dense: Tensor


@torch.no_grad()
def smallest_eigenvectors(weights: Tensor, count: int) -> Spectrum:
    """Return the ``count`` smallest eigenpairs of (D - W) v = λ D v, D being the diagonal matrix of W's row sums.

    They are the largest of D^-1/2 W D^-1/2. The largest of all is known, D^1/2 1, and deflated; the next come from a
    Lanczos iteration with full reorthogonalisation from a fixed random start (a block one for more than one
    vector). It ends when residual over gap, which bounds the angle to the true vector, is below 1e-7 for every graph.
    A graph that is not there after 160 basis vectors is solved densely, and so are small ones.

    Args:
        weights: (B, N, N) symmetric, finite, none negative and no row of zeros alone.
        count: number of eigenpairs, from 1 on; beyond N they are cut off.

    Source: Golub and Van Loan, "Matrix Computations", 4th edition, section 10.3.
    """
    batch, size, _ = weights.shape
    count = min(count, size)
    # Metal has no float64; there the residual is that of float32.
    exact = torch.float32 if weights.device.type == "mps" else torch.float64
    weights = weights.to(exact)
    scale = weights.sum(dim=2).rsqrt()[:, :, None]
    trivial = torch.nn.functional.normalize(scale.reciprocal(), dim=1)
    wanted = count - 1
    values = torch.zeros(batch, wanted, dtype=exact, device=weights.device)
    vectors = torch.zeros(batch, size, wanted, dtype=exact, device=weights.device)
    done = torch.full((batch,), wanted == 0, device=weights.device)
    flat = torch.full((batch,), size < 2, device=weights.device)
    if wanted and size > max(_DENSE_BELOW, 8 * wanted):
        values, vectors, done, flat = _lanczos(weights, scale, trivial, wanted)
    dense = ~done
    if dense.any():
        matrix = weights[dense] * scale[dense] * scale[dense].mT
        values[dense], vectors[dense], flat[dense] = _solve_densely(matrix, trivial[dense], wanted)
    vectors = torch.cat([trivial, vectors], dim=2) * scale
    peak = vectors.gather(1, vectors.abs().argmax(dim=1, keepdim=True))
    zero = torch.zeros_like(values[:, :1]) if wanted else torch.zeros(batch, 1, dtype=exact, device=weights.device)
    return Spectrum(torch.cat([zero, 1 - values], dim=1), vectors * peak.sign(), flat, dense)


def _lanczos(weights: Tensor, scale: Tensor, trivial: Tensor, wanted: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Largest eigenpairs orthogonal to ``trivial``: values, vectors, which graphs converged, and which are flat."""
    batch, size, _ = weights.shape
    block = 1 if wanted == 1 else wanted + 1
    steps = max(_BASIS, 12 * block) // block
    steps = min(steps, (size - 1) // block)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(steps + 1, size, block, generator=generator, dtype=torch.float64).to(weights)
    basis = torch.zeros(batch, size, steps * block, dtype=weights.dtype, device=weights.device)
    small = torch.zeros(batch, steps * block, steps * block, dtype=weights.dtype, device=weights.device)
    flat = torch.zeros(batch, dtype=torch.bool, device=weights.device)
    current = _fresh(noise[0].expand(batch, -1, -1), trivial, basis[:, :, :0], noise[0] * 0)
    for step in range(steps):
        start, stop = step * block, (step + 1) * block
        basis[:, :, start:stop] = current
        known = basis[:, :, :stop]
        image = scale * _multiply(weights, scale * current)
        column = known.mT @ image
        small[:, :stop, start:stop] = column
        small[:, start:stop, :stop] = column.mT
        rest = image - trivial @ (trivial.mT @ image) - known @ column
        if step == 0:
            diagonal = column.diagonal(dim1=1, dim2=2)
            spread = diagonal.amax(1) - diagonal.amin(1)
            flat = (rest.flatten(1).norm(dim=1) < _FLAT * size**0.5) & (spread < _FLAT)
        current = _fresh(rest, trivial, known, noise[step + 1])
        if (step % 4 == 3 and stop > wanted + 1) or step == steps - 1:
            values, mixes, residuals = _ritz(small[:, :stop, :stop], rest, wanted + 1)
            done = _converged(values, residuals, wanted) | flat
            if bool(done.all()):
                break
    return values[:, :wanted].clone(), known @ mixes[:, :, :wanted], done, flat


def _multiply(weights: Tensor, block: Tensor) -> Tensor:
    if weights.device.type == "cpu" and block.shape[2] == 1:
        # Torch's batched product takes three times as long for single columns as one product a graph.
        return torch.stack([torch.mv(graph, column[:, 0]) for graph, column in zip(weights, block, strict=True)])[
            :, :, None
        ]
    return weights @ block


def _fresh(block: Tensor, trivial: Tensor, known: Tensor, noise: Tensor) -> Tensor:
    """Orthonormal columns for the span of ``block``, orthogonal to all before.

    Where the Krylov space is exhausted, the trace of ``noise`` gives the iteration new directions.
    """
    block = block + 1e-13 * noise
    for _ in range(2):
        block = block / block.norm(dim=1, keepdim=True).clamp_min(1e-300 if block.dtype == torch.float64 else 1e-30)
        block = block - trivial @ (trivial.mT @ block) - known @ (known.mT @ block)
        block = torch.linalg.qr(block)[0] if block.shape[2] > 1 else torch.nn.functional.normalize(block, dim=1)
    return block


def _ritz(small: Tensor, rest: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Largest Ritz values, their mixes of basis vectors, and the lengths of their residuals, of ``count`` pairs."""
    values, mixes = torch.linalg.eigh(small)
    values, mixes = values.flip(1)[:, :count], mixes.flip(2)[:, :, :count]
    return values, mixes, (rest @ mixes[:, -rest.shape[2] :]).norm(dim=1)


def _converged(values: Tensor, residuals: Tensor, wanted: int) -> Tensor:
    gaps = values[:, :-1] - values[:, 1:]
    nearest = torch.cat([gaps[:, :1], torch.minimum(gaps[:, 1:], gaps[:, :-1])], dim=1)[:, :wanted]
    bound = (nearest * _ACCURACY).clamp_min(_RESIDUAL if values.dtype == torch.float64 else 1e-5)
    return (residuals[:, :wanted] < bound).all(dim=1)


def _solve_densely(matrix: Tensor, trivial: Tensor, wanted: int) -> tuple[Tensor, Tensor, Tensor]:
    # Lowered below all others, the known vector cannot mix with one of equal value.
    values, vectors = torch.linalg.eigh(matrix - 3 * trivial @ trivial.mT)
    values, vectors = values.flip(1)[:, :-1], vectors.flip(2)[:, :, :-1]
    flat = values[:, 0] - values[:, -1] < _FLAT if values.shape[1] > 0 else torch.ones(len(matrix), dtype=torch.bool)
    return values[:, :wanted], vectors[:, :, :wanted], flat
