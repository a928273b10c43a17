import copy

import pytest
import torch
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer

from segtricks.backbones.positions import resize_positions, resize_positions_to, use_dino_positions

from .vit_references import cubic_matrix, fit_positions, random_images, scramble, small_dinov3, small_vit


@pytest.mark.parametrize("grid", [(40, 40), (28, 41), (13, 7), (1, 60)])
def test_resize_is_cubic_convolution_at_n_plus_a_tenth_over_n0(grid: tuple[int, int]) -> None:
    positions = torch.randn(1, 5, 28, 28, generator=torch.Generator().manual_seed(0))
    expected = fit_positions(positions.flatten(2).transpose(1, 2), (28, 28), grid)
    resized = resize_positions(positions, grid).flatten(2).transpose(1, 2)
    torch.testing.assert_close(resized, expected, atol=2e-4, rtol=0)


def test_reference_keeps_constants() -> None:
    torch.testing.assert_close(torch.from_numpy(cubic_matrix(28, 40)).sum(1), torch.ones(40).double())


def test_every_size_up_to_two_hundred_patches_comes_out_exact() -> None:
    positions = torch.zeros(1, 1, 14, 14)
    for size in range(1, 201):
        assert resize_positions(positions, (size, 14)).shape == (1, 1, size, 14)


def test_trained_grid_is_returned_untouched() -> None:
    positions = torch.randn(1, 5, 4, 6)
    assert resize_positions(positions, (4, 6)) is positions


def test_bfloat16_positions_are_resized_in_float32() -> None:
    positions = torch.randn(1, 5, 8, 8).bfloat16()
    expected = resize_positions(positions.float(), (11, 9)).bfloat16()
    torch.testing.assert_close(resize_positions(positions, (11, 9)), expected, atol=0, rtol=0)


@pytest.mark.parametrize(
    "options",
    [
        dict(),
        dict(reg_tokens=3),
        dict(reg_tokens=4, no_embed_class=True),
        dict(class_token=False, global_pool="avg"),
    ],
    ids=["class token", "registers", "positions without prefix", "no prefix"],
)
@pytest.mark.parametrize("size", [(48, 80), (32, 32)], ids=["other grid", "trained grid"])
def test_vit_with_dino_positions_equals_a_fixed_size_timm_model_given_the_fitted_ones(
    options: dict, size: tuple[int, int]
) -> None:
    model = small_vit(**options)
    _check_against_fixed_size(VisionTransformer, model, options, size)


@pytest.mark.parametrize("options", [dict(), dict(num_reg_tokens=2), dict(num_reg_tokens=2, no_embed_class=True)])
def test_eva_with_dino_positions_equals_a_fixed_size_timm_model_given_the_fitted_ones(options: dict) -> None:
    small = dict(img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=2, num_classes=0) | options
    _check_against_fixed_size(Eva, scramble(Eva(**small, dynamic_img_size=True)), options, (48, 80))


def _check_against_fixed_size(family: type, model, options: dict, size: tuple[int, int]) -> None:
    state = model.state_dict()
    prefix = 0 if model.no_embed_class else model.num_prefix_tokens
    grid = (size[0] // 8, size[1] // 8)
    if grid != (4, 4):
        fitted = fit_positions(state["pos_embed"][:, prefix:], (4, 4), grid)
        state = state | {"pos_embed": torch.cat([state["pos_embed"][:, :prefix], fitted], dim=1)}
    depth = len(model.blocks)
    fixed = family(img_size=size, patch_size=8, embed_dim=32, depth=depth, num_heads=2, num_classes=0, **options).eval()
    fixed.load_state_dict(state, strict=True)
    ours = copy.deepcopy(model)
    use_dino_positions(ours)
    images = random_images(*size)
    with torch.no_grad():
        torch.testing.assert_close(ours.forward_features(images), fixed.forward_features(images), atol=1e-4, rtol=0)


def test_rotary_model_is_left_alone() -> None:
    model = small_dinov3()
    before = dict(model.named_modules())
    use_dino_positions(model)
    assert dict(model.named_modules()) == before


def test_selfmask_resizes_to_the_size_and_not_at_all_where_the_number_of_patches_is_the_trained_one() -> None:
    positions = torch.randn(1, 5, 4, 4)
    flat = resize_positions_to(positions, (2, 8))
    assert torch.equal(flat.flatten(2), positions.flatten(2))
    resized = resize_positions_to(positions, (8, 8))
    expected = torch.einsum("ij,bcjk,lk->bcil", cubic(4, 8), positions.double(), cubic(4, 8))
    torch.testing.assert_close(resized.double(), expected, atol=1e-5, rtol=0)


def cubic(old: int, new: int) -> torch.Tensor:
    """Weights (new, old) of cubic convolution with a = -0.75, edges repeated."""
    weights = torch.zeros(new, old, dtype=torch.float64)
    for place in range(new):
        source = (place + 0.5) * old / new - 0.5
        for index in range(int(source // 1) - 1, int(source // 1) + 3):
            x = abs(source - index)
            inner = 1.25 * x**3 - 2.25 * x**2 + 1
            outer = -0.75 * (x**3 - 5 * x**2 + 8 * x - 4)
            weights[place, min(max(index, 0), old - 1)] += inner if x <= 1 else outer
    return weights
