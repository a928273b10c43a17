import pytest
import torch

from segtricks.discovery import smallest_eigenvectors


def _dense(weights, count):
    """The definition, by a dense solve of D^-1/2 (D - W) D^-1/2 in float64."""
    weights = weights.double()
    scale = weights.sum(1).rsqrt()
    laplacian = torch.eye(len(weights), dtype=torch.float64) - scale[:, None] * weights * scale
    values, vectors = torch.linalg.eigh(laplacian)
    return values[:count], vectors[:, :count] * scale[:, None]


def _binary(size, seed, tau=0.1):
    unit = torch.nn.functional.normalize(torch.randn(size, 8, generator=torch.Generator().manual_seed(seed)), dim=1)
    return torch.where(unit @ unit.T > tau, 1.0, 1e-5)


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("size", [2, 40, 260])
def test_equals_a_dense_solve_for_small_and_large_graphs(size, count):
    weights = torch.stack([_binary(size, 0), _binary(size, 1, tau=-0.2)])
    spectrum = smallest_eigenvectors(weights, count)
    assert not (spectrum.dense.any() and size == 260)
    for i, graph in enumerate(weights):
        values, vectors = _dense(graph, min(count, size))
        torch.testing.assert_close(spectrum.values[i], values, rtol=0, atol=1e-9)
        cosine = torch.nn.functional.cosine_similarity(spectrum.vectors[i], vectors, dim=0).abs()
        torch.testing.assert_close(cosine, torch.ones_like(cosine), rtol=0, atol=1e-9)


def test_vectors_have_unit_length_in_the_degree_norm_and_a_positive_peak():
    weights = _binary(260, 2)[None]
    vectors = smallest_eigenvectors(weights, 3).vectors[0]
    torch.testing.assert_close(vectors.T @ (weights[0].double().sum(1)[:, None] * vectors), torch.eye(3).double())
    assert (vectors.gather(0, vectors.abs().argmax(0, keepdim=True)) > 0).all()


@pytest.mark.parametrize("size", [30, 300])
def test_one_block_and_no_edges_are_flat_and_two_blocks_are_not(size):
    two = torch.full((size, size), 1e-5)
    two[: size // 3, : size // 3] = two[size // 3 :, size // 3 :] = 1
    graphs = torch.stack([torch.ones(size, size), torch.eye(size), torch.eye(size).clamp_min(1e-5), two])
    spectrum = smallest_eigenvectors(graphs, 2)
    assert spectrum.flat.tolist() == [True, True, True, False]
    assert torch.isfinite(spectrum.vectors).all()
    side = spectrum.vectors[3, :, 1] > 0
    assert len(set(side[: size // 3].tolist())) == 1 and side[0] != side[-1]


def test_eigenvalues_that_nearly_coincide_end_in_a_vector_of_small_residual():
    blocks = torch.block_diag(*[torch.ones(80, 80)] * 4).clamp_min(1e-5)  # threefold second eigenvalue
    spectrum = smallest_eigenvectors(blocks[None], 2)
    vector, value = spectrum.vectors[0, :, 1], spectrum.values[0, 1]
    degree = blocks.double().sum(1)
    residual = degree * vector - blocks.double() @ vector - value * degree * vector
    assert residual.norm() < 1e-7 * (degree * vector).norm()
    assert not spectrum.flat


def test_a_path_converges_too_slowly_to_iterate_and_is_solved_densely():
    size = 600
    path = torch.diag(torch.ones(size)) + torch.diag(torch.ones(size - 1), 1) + torch.diag(torch.ones(size - 1), -1)
    spectrum = smallest_eigenvectors(path[None], 2)
    values, vectors = _dense(path, 2)
    assert spectrum.dense.all()
    torch.testing.assert_close(spectrum.values[0], values, rtol=0, atol=1e-9)
    assert torch.nn.functional.cosine_similarity(spectrum.vectors[0, :, 1], vectors[:, 1], dim=0).abs() > 1 - 1e-9


def test_a_graph_is_solved_alike_alone_and_among_others():
    graphs = torch.stack([_binary(260, i) for i in range(3)])
    together, alone = smallest_eigenvectors(graphs, 2), smallest_eigenvectors(graphs[1:2], 2)
    torch.testing.assert_close(together.vectors[1:2], alone.vectors, rtol=0, atol=1e-8)


def test_eight_grids_of_40x40_in_one_call_need_no_dense_solve():
    graphs = torch.stack([_binary(1600, i, tau=0.3) for i in range(8)])
    spectrum = smallest_eigenvectors(graphs, 2)
    assert not spectrum.dense.any()
    vector, degree = spectrum.vectors[..., 1:], graphs.double().sum(2)[..., None]
    residual = degree * vector - graphs.double() @ vector - spectrum.values[:, 1:, None] * degree * vector
    assert (residual.norm(dim=1) < 1e-6 * (degree * vector).norm(dim=1)).all()
