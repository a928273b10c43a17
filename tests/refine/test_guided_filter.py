import numpy as np
import pytest
import torch

from segtricks.refine import GuidedFilter, guided_filter


@pytest.mark.parametrize(("radius", "eps", "name"), [(9, 1e-3, "filtered_r9_eps1e3"), (4, 1e-2, "filtered_r4_eps1e2")])
def test_equals_the_first_implementation(golden, radius, eps, name):
    values = {k: torch.from_numpy(v) for k, v in np.load(golden / "guided_filter.npz").items()}
    ours = guided_filter(values["mask"], values["image_rgb01"], radius, eps)
    torch.testing.assert_close(ours, values[name], rtol=0, atol=1e-4)


def _window_mean(x, radius):
    height, width = x.shape
    rows = [slice(max(0, y - radius), y + radius + 1) for y in range(height)]
    columns = [slice(max(0, c - radius), c + radius + 1) for c in range(width)]
    return np.array([[x[row, column].mean() for column in columns] for row in rows])


def test_equals_the_published_algorithm_window_by_window_in_float64():
    rng = np.random.default_rng(0)
    image, mask = rng.random((3, 14, 17)), rng.random((14, 17))
    guide, radius, eps = image.mean(0), 3, 1e-2
    mean_i, mean_p = _window_mean(guide, radius), _window_mean(mask, radius)
    a = (_window_mean(guide * mask, radius) - mean_i * mean_p) / (_window_mean(guide**2, radius) - mean_i**2 + eps)
    expected = _window_mean(a, radius) * guide + _window_mean(mean_p - a * mean_i, radius)
    ours = guided_filter(torch.from_numpy(mask)[None, None], torch.from_numpy(image)[None], radius, eps)
    np.testing.assert_allclose(ours[0, 0].numpy(), expected, atol=2e-5)


def test_padded_borders_agree_inside():
    image, mask = torch.rand(1, 3, 60, 50), torch.rand(1, 1, 60, 50)
    inside = (..., slice(18, -18), slice(18, -18))
    exact, reflected = guided_filter(mask, image), guided_filter(mask, image, border="reflect")
    torch.testing.assert_close(reflected[inside], exact[inside], rtol=0, atol=1e-4)
    assert (reflected - exact).abs().max() > 1e-3


def test_constant_mask_stays_constant():
    image = torch.rand(2, 3, 30, 40)
    torch.testing.assert_close(guided_filter(torch.full((2, 1, 30, 40), 0.7), image), torch.full((2, 1, 30, 40), 0.7))


def test_inverting_the_mask_inverts_the_result():
    image, mask = torch.rand(1, 3, 30, 40), torch.rand(1, 1, 30, 40)
    torch.testing.assert_close(1 - guided_filter(mask, image), guided_filter(1 - mask, image))


def test_bfloat16_autocast_and_input_are_computed_in_float32():
    image, mask = torch.rand(1, 3, 40, 40), torch.rand(1, 1, 40, 40)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(guided_filter(mask, image), guided_filter(mask, image))
        assert guided_filter(mask.bfloat16(), image).dtype == torch.float32
    expected = guided_filter(mask, image)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(guided_filter(mask, image), expected, rtol=0, atol=1e-6)


def test_window_larger_than_the_image_is_the_mean_fit():
    image, mask = torch.rand(1, 3, 1, 1), torch.rand(1, 1, 1, 1)
    torch.testing.assert_close(guided_filter(mask, image), mask)


def test_colour_guidance_keeps_an_edge_that_gray_cannot_see():
    image = torch.zeros(1, 3, 40, 40)
    image[:, 0, :, :20], image[:, 1, :, 20:] = 0.9, 0.9  # red beside green of the same mean
    mask = torch.zeros(1, 1, 40, 40)
    mask[..., :20] = 1
    gray = guided_filter(mask, image, border="reflect")
    color = guided_filter(mask, image, border="reflect", guidance="color")
    assert (color - mask).abs().max() < 0.05 < (gray - mask).abs().max()


def test_bound_options_are_used():
    image, mask = torch.rand(1, 3, 30, 40), torch.rand(1, 1, 30, 40)
    options = GuidedFilter(radius=4, eps=1e-2, border="replicate", subsample=2)
    expected = guided_filter(mask, image, 4, 1e-2, border="replicate", subsample=2)
    torch.testing.assert_close(options(mask, image), expected)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"radius": 0}, "radius >= 1"),
        ({"eps": 0.0}, "eps > 0"),
        ({"border": "zero"}, "border must be"),
        ({"guidance": "lab", "border": "reflect"}, "guidance must be"),
        ({"guidance": "color"}, 'pass border="reflect"'),
        ({"subsample": 2}, 'pass border="reflect"'),
        ({"border": "reflect", "radius": 40}, 'pass border="exact"'),
    ],
)
def test_options_out_of_range_say_what_is_legal(options, said):
    with pytest.raises(ValueError, match=said):
        guided_filter(torch.rand(1, 1, 30, 40), torch.rand(1, 3, 30, 40), **options)


def test_sizes_that_differ_are_refused():
    with pytest.raises(ValueError, match="differ in batch or size"):
        guided_filter(torch.rand(1, 1, 30, 40), torch.rand(1, 3, 30, 41))
