import itertools

import pytest
import torch

from segtricks.refine.bilateral_grid import BilateralGrid, color_cells

SIGMAS = (8, 16, 24)


@pytest.fixture
def image():
    """Two images of few colours, so that many cells have neighbours."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(100, 160, (2, 3, 20, 30), generator=generator, dtype=torch.uint8)


def _cells(image):
    """The cell of each pixel as six numbers: image, row, column, luma and two chroma."""
    colours = [
        color_cells(image, channel, sigma, torch.float64)
        for channel, sigma in enumerate((SIGMAS[1], SIGMAS[2], SIGMAS[2]))
    ]
    places = torch.meshgrid(*(torch.arange(side) for side in (2, 20, 30)), indexing="ij")
    parts = [places[0], places[1] // SIGMAS[0], places[2] // SIGMAS[0], *colours]
    return [tuple(cell) for cell in torch.stack(parts, dim=-1).reshape(-1, 6).tolist()]


def test_neighbours_are_the_cells_that_differ_by_one_in_one_number_of_the_same_image(image):
    grid, cells = BilateralGrid(image, *SIGMAS), _cells(image)
    vertex = {cell: int(number) for cell, number in zip(cells, grid.vertex, strict=True)}
    assert len(vertex) == grid.count and len(set(vertex.values())) == grid.count
    wanted = torch.zeros(grid.count, grid.count, dtype=torch.float64)
    for one, other in itertools.permutations(vertex, 2):
        apart = [abs(first - second) for first, second in zip(one, other, strict=True)]
        if one[0] == other[0] and sum(apart) == 1:
            wanted[vertex[one], vertex[other]] = 1
    assert wanted.any()
    assert torch.equal(grid.neighbours.to_dense(), wanted)


def test_scaled_neighbours_are_the_adjacency_between_two_diagonals(image):
    grid = BilateralGrid(image, *SIGMAS)
    scale = torch.rand(grid.count, dtype=torch.float64)
    wanted = -3 * torch.diag(scale) @ grid.neighbours.to_dense() @ torch.diag(scale)
    torch.testing.assert_close(grid.scaled_neighbours(scale, -3).to_dense(), wanted, rtol=1e-12, atol=0)


def test_an_image_of_one_colour_has_neighbours_in_its_plane_alone():
    grid = BilateralGrid(torch.full((1, 3, 9, 9), 50, dtype=torch.uint8), 3, 4, 4)
    assert grid.count == 9
    assert grid.neighbours.to_dense().sum() == 2 * 12  # both directions of the sides within 3 x 3 cells
    assert torch.equal(grid.splat(torch.ones(1, 1, 9, 9)), torch.full((9,), 9.0, dtype=torch.float64))
