import numpy as np
import pytest
import torch

from segtricks.errors import UserError
from segtricks.refine import BILATERAL_PRESETS, BilateralSolver, bilateral_solver, hard_mask
from segtricks.refine.bilateral_grid import BilateralGrid, color_cells


@pytest.mark.parametrize(("preset", "name"), [("two-tricks", "24_4_4"), ("tokencut", "16_16_8")])
def test_equals_the_first_implementation(golden, preset, name):
    values = np.load(golden / "bilateral_solver.npz")
    image = torch.from_numpy(values["image"]).permute(2, 0, 1)[None] / 255
    soft = BILATERAL_PRESETS[preset](torch.from_numpy(values["mask"])[None, None], image)
    np.testing.assert_allclose(soft[0, 0].numpy(), values[f"soft_{name}"], rtol=0, atol=1e-6)
    hard = hard_mask(soft)[0, 0].numpy() > 0
    np.testing.assert_array_equal(hard, values[f"binary_{name}"])


def test_equals_the_published_algorithm_with_dense_matrices():
    rng = np.random.default_rng(0)
    image, mask = rng.integers(0, 256, (9, 11, 3), dtype=np.uint8), rng.random((9, 11))
    weights = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
    yuv = image @ weights.T + [0, 128, 128]
    rows, columns = np.mgrid[:9, :11]
    pixels = [(x // 4, y // 4, *(int(v // s) for v, s in zip(yuv[y, x], (60, 50, 50), strict=True)))
              for y, x in zip(rows.ravel(), columns.ravel(), strict=True)]  # fmt: skip
    cells = sorted(set(pixels))
    splat = np.array([[float(cell == pixel) for pixel in pixels] for cell in cells])
    apart = np.abs(np.array(cells)[:, None] - np.array(cells)[None]).sum(2)
    blur = 10.0 * (apart == 0) + (apart == 1)
    mass, n = splat.sum(1), np.ones(len(cells))
    for _ in range(10):
        n = np.sqrt(n * mass / (blur @ n))
    smooth = np.diag(n * (blur @ n)) - np.diag(n) @ blur @ np.diag(n)
    solution = np.linalg.solve(256 * smooth + np.diag(0.999 * mass), splat @ mask.ravel() * 0.999)
    ours = bilateral_solver(
        torch.from_numpy(mask)[None, None],
        torch.from_numpy(image).permute(2, 0, 1)[None] / 255,
        4, 60, 50, iterations=200,
    )  # fmt: skip
    np.testing.assert_allclose(ours.flatten().numpy(), splat.T @ solution, atol=2e-4)


def test_images_solved_together_and_as_one_system_equal_each_alone():
    image, mask = torch.rand(3, 3, 40, 50), torch.rand(3, 1, 40, 50)
    mask[1] = 0  # nothing to iterate: it must not disturb the others
    alone = torch.cat([bilateral_solver(mask[i : i + 1], image[i : i + 1]) for i in range(3)])
    assert torch.equal(bilateral_solver(mask, image), alone)
    from segtricks.refine.bilateral_solver import _solve  # the path of a GPU

    grid = BilateralGrid((image * 255).round().to(torch.uint8), 24, 4, 4)
    torch.testing.assert_close(_solve(grid, mask, 256.0, 0.999, 25), alone, rtol=0, atol=1e-6)


def test_constant_mask_stays_constant():
    mask = torch.full((1, 1, 30, 40), 0.7)
    torch.testing.assert_close(bilateral_solver(mask, torch.rand(1, 3, 30, 40)), mask, rtol=0, atol=1e-5)


def test_mask_moves_to_the_edge_of_the_image():
    image = torch.zeros(1, 3, 48, 48)
    image[..., 20:] = 0.8
    mask = torch.zeros(1, 1, 48, 48)
    mask[..., 24:] = 1
    expected = (image[:, :1] > 0.5).float()
    assert torch.equal((bilateral_solver(mask, image) > 0.5).float(), expected)


def test_gray_pixels_fall_into_the_cells_that_fused_products_give():
    """The definition in exact fractions, rounded to float64 after every fused step."""
    from fractions import Fraction

    weights = (-0.168736, -0.331264, 0.5)
    gray = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    expected = []
    for value in range(256):
        total = 0.0
        for weight in weights:
            total = float(Fraction(weight) * value + Fraction(total))
        expected.append(int((total + 128) / 4))
    assert color_cells(gray, 1, 4, torch.float64).flatten().tolist() == expected


def test_nan_in_one_mask_stays_in_its_image():
    image, mask = torch.rand(2, 3, 30, 40), torch.rand(2, 1, 30, 40)
    alone = bilateral_solver(mask[1:], image[1:])
    mask[0, 0, 0, 0] = float("nan")
    assert torch.equal(bilateral_solver(mask, image)[1:], alone)


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (30, 1)])
def test_thin_images_and_an_empty_batch_have_an_answer(size):
    mask = torch.ones(1, 1, *size)
    torch.testing.assert_close(bilateral_solver(mask, torch.rand(1, 3, *size)), mask, rtol=0, atol=1e-5)
    assert bilateral_solver(mask[:0], torch.rand(0, 3, *size)).shape == (0, 1, *size)


def test_gray_image_is_its_three_equal_channels():
    image, mask = torch.rand(1, 1, 30, 40), torch.rand(1, 1, 30, 40)
    assert torch.equal(bilateral_solver(mask, image), bilateral_solver(mask, image.expand(-1, 3, -1, -1)))


def test_hard_option_gives_the_largest_filled_component():
    image, mask = torch.rand(1, 3, 30, 40), torch.rand(1, 1, 30, 40)
    hard = BilateralSolver(16, 16, 8, hard=True)(mask, image)
    assert torch.equal(hard, hard_mask(BilateralSolver(16, 16, 8)(mask, image)))
    assert not hard_mask(torch.full((2, 1, 5, 5), 0.5)).any()


@pytest.mark.parametrize(
    ("shape", "options", "said"),
    [
        ((1, 1, 30, 41), {}, "differ in batch or size"),
        ((1, 30, 40), {}, "mask must be"),
        ((1, 1, 30, 40), {"sigma_luma": 0}, "must be positive"),
    ],
)
def test_bad_input_says_what_is_legal(shape, options, said):
    with pytest.raises(UserError, match=said):
        bilateral_solver(torch.rand(shape), torch.rand(1, 3, 30, 40), **options)
