import torch
from torch.nn.functional import interpolate

from segtricks.methods.crops import crop_and_enlarge, random_corners


def test_corners_are_uniform_over_every_place_at_which_the_crop_fits():
    corners = random_corners(20_000, (8, 10), (4, 5), torch.Generator().manual_seed(0))
    counts = torch.zeros(5, 6)
    for top, left in corners:
        counts[top, left] += 1
    expected = 20_000 / 30
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert (counts > 0).all()
    assert chi_square < 58.3, "29 degrees of freedom, p = 0.001"


def test_rows_and_columns_are_drawn_independently_for_each_image():
    corners = random_corners(64, (100, 100), (50, 50), torch.Generator().manual_seed(0))
    assert len(set(corners)) > 55


def test_crop_of_the_whole_image_changes_nothing():
    x = torch.rand(2, 3, 8, 10)
    torch.testing.assert_close(crop_and_enlarge(x, [(0, 0), (0, 0)], (8, 10)), x)


def test_each_image_is_cut_at_its_own_corner_and_enlarged():
    x = torch.rand(2, 1, 8, 8)
    enlarged = crop_and_enlarge(x, [(0, 4), (3, 1)], (4, 4))
    expected = [x[:1, :, 0:4, 4:8], x[1:, :, 3:7, 1:5]]
    torch.testing.assert_close(enlarged, interpolate(torch.cat(expected), scale_factor=2, mode="bilinear"))


def test_gradient_flows_back_into_the_crop_only():
    x = torch.rand(1, 1, 6, 6, requires_grad=True)
    crop_and_enlarge(x, [(1, 2)], (3, 3)).sum().backward()
    assert (x.grad[0, 0, 1:4, 2:5] > 0).all()
    assert x.grad.sum() == x.grad[0, 0, 1:4, 2:5].sum()
