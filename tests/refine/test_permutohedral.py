import pytest
import torch

from segtricks.refine.permutohedral import PermutohedralLattice


@pytest.mark.parametrize("dims", [1, 2, 5])
def test_close_points_are_summed_with_about_gaussian_weights(dims):
    points = 1.5 * torch.randn(3000, dims)
    values = torch.rand(3000, 2)
    gauss = torch.exp(-0.5 * torch.cdist(points, points) ** 2)
    exact = gauss @ values / gauss.sum(1, keepdim=True)
    lattice = PermutohedralLattice(points)
    ours = lattice.filter(values) / lattice.filter(torch.ones(3000, 1))
    crowded = gauss.sum(1) > 20
    assert crowded.sum() > 500 and (ours - exact)[crowded].abs().max() < 0.1
    assert (ours - exact)[crowded].abs().mean() < 0.02


def test_a_lone_point_keeps_its_own_value():
    points = torch.tensor([[0.0, 0.0], [100.0, 0.0]])
    lattice = PermutohedralLattice(points)
    ones = lattice.filter(torch.ones(2, 1))
    torch.testing.assert_close(lattice.filter(torch.tensor([[1.0], [3.0]])) / ones, torch.tensor([[1.0], [3.0]]))
