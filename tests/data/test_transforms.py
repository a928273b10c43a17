from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import interpolate
from torchvision import tv_tensors
from torchvision.transforms import v2

from segtricks.data.sample import Instances, Panoptic, Target
from segtricks.data.transforms import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    VOID,
    CenterCropTransform,
    TrainTransform,
    View,
    denormalize,
    fit_short_side,
    normalize,
    resize_short_side,
    resize_target,
    to_colored_input,
    to_input,
)
from segtricks.errors import UserError


def photo(height: int, width: int) -> torch.Tensor:
    """Smooth colours with some noise."""
    noise = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.interpolate(noise, (height, width), mode="bicubic")[0]
    return (smooth.clamp(0, 1) * 255).to(torch.uint8)


def cut(transform: TrainTransform, image: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A view of an image whose short side is ``resize``, without colours."""
    return transform.draw(image.shape[-2], image.shape[-1], generator).image(image)


def both(
    transform: TrainTransform, image: torch.Tensor, target: Target, generator: torch.Generator | None = None
) -> tuple[torch.Tensor, Target]:
    """A view of an image and of its target, as the training loader makes it."""
    resized = resize_short_side(image, transform.resize)
    view = transform.draw(resized.shape[-2], resized.shape[-1], generator)
    colored = to_colored_input(view.image(resized)[None], transform.draw_colors(generator)[None])[0]
    return colored, view.target(target)


def test_normalize_agrees_with_torchvision_and_is_undone() -> None:
    rgb = torch.rand(2, 3, 5, 7)
    expected = v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))(rgb)
    torch.testing.assert_close(normalize(rgb), expected)
    torch.testing.assert_close(denormalize(normalize(rgb[0, :, :1])), rgb[0, :, :1])


def test_denormalize_stays_within_0_and_1() -> None:
    beyond = denormalize(torch.full((1, 3, 2, 2), 9.0)), denormalize(torch.full((1, 3, 2, 2), -9.0))
    assert (beyond[0] == 1).all()
    assert (beyond[1] == 0).all()


def test_to_input_of_white_and_black() -> None:
    white = to_input(torch.full((3, 1, 1), 255, dtype=torch.uint8))
    torch.testing.assert_close(white.flatten(), torch.tensor([2.2489, 2.4286, 2.6400]), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("height", "width", "size", "multiple", "expected"),
    [
        (300, 400, 320, 8, (320, 424)),  # 426.7 lies nearest to 53 * 8
        (400, 300, 320, 8, (424, 320)),
        (300, 400, 320, 14, (322, 420)),
        (300, 400, 100, 16, (96, 128)),  # 100 / 16 = 6.25, 133.3 / 16 = 8.3
        (10, 10, 3, 8, (8, 8)),  # at least one multiple
        (1, 1, 16, 8, (16, 16)),
        (1, 100, 16, 8, (16, 128)),  # beyond 8:1 it is squeezed
        (5000, 1, 16, 1, (128, 16)),
    ],
)
def test_fit_short_side_sizes(height: int, width: int, size: int, multiple: int, expected: tuple[int, int]) -> None:
    fitted = fit_short_side(photo(height, width), size, multiple)
    assert fitted.dtype == torch.uint8
    assert fitted.shape == (3, *expected)


@pytest.mark.parametrize("shape", [(300, 400), (60, 80)])
def test_resizing_is_pillows_antialiased_bilinear(shape: tuple[int, int]) -> None:
    image = photo(*shape)
    pillow = Image.fromarray(image.permute(1, 2, 0).numpy()).resize((160, 120), Image.Resampling.BILINEAR)
    fitted = fit_short_side(image, 120, 8).permute(1, 2, 0).numpy()
    assert np.abs(fitted.astype(int) - np.asarray(pillow).astype(int)).max() <= 1


@pytest.mark.parametrize("shape", [(300, 400), (401, 301), (375, 500), (333, 500), (7, 9)])
@pytest.mark.parametrize("channels", [1, 3])
def test_center_crop_is_the_papers(shape: tuple[int, int], channels: int) -> None:
    image = photo(*shape)[:channels]
    reference = v2.Compose([v2.Resize(335, antialias=True), v2.CenterCrop(320)])(image)
    cropped = CenterCropTransform(320)(image)
    assert cropped.shape == (channels, 320, 320)
    assert (cropped.int() - reference.int()).abs().max() <= 1


@pytest.mark.parametrize("shape", [(300, 400), (401, 301), (7, 9)])
def test_resizing_does_not_depend_on_the_memorys_layout(shape: tuple[int, int]) -> None:
    planes = photo(*shape)
    pixels = planes.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    assert torch.equal(resize_short_side(pixels, 335), resize_short_side(planes, 335))
    assert torch.equal(fit_short_side(pixels, 64, 8), fit_short_side(planes, 64, 8))


def test_image_and_mask_are_cropped_identically() -> None:
    image = photo(90, 130)
    crop = CenterCropTransform(64, 80)
    assert torch.equal(crop(image)[:1], crop(image[:1]))


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (2000, 1), (10, 400), (33, 32), (500, 400)])
def test_every_image_gives_a_training_crop(shape: tuple[int, int]) -> None:
    crop = TrainTransform(32)(photo(*shape))
    assert crop.shape == (3, 32, 32)
    assert crop.dtype == torch.float32
    assert crop.isfinite().all()


def test_short_side_before_the_crop_is_335_for_320() -> None:
    assert TrainTransform().resize == 335
    assert TrainTransform(96).resize == 100  # 100.5, to the even number
    assert CenterCropTransform(320, 355).resize == 355


def test_without_randomness_only_the_place_of_the_crop_is_left() -> None:
    column = torch.arange(100, dtype=torch.uint8).expand(3, 100, 100).contiguous()
    plain = TrainTransform(60, 100, flip=0, jitter_p=0, grayscale_p=0)
    lefts = set()
    for seed in range(40):
        torch.manual_seed(seed)
        crop = (denormalize(plain(column)) * 255).round()
        lefts.add(int(crop[0, 0, 0]))
        assert torch.equal(crop[0, 0], crop[0, 0, 0] + torch.arange(60))
    assert min(lefts) < 8
    assert max(lefts) > 32  # anywhere from 0 to 40
    mirrored = TrainTransform(60, 100, flip=1, jitter_p=0, grayscale_p=0)(column)
    assert (mirrored.diff(dim=2) < 0).all()


@pytest.mark.parametrize("shape", [(45, 70), (70, 45), (40, 40)])
def test_the_same_seed_gives_the_view_of_torchvisions_transforms(shape: tuple[int, int]) -> None:
    image, size = photo(*shape), 40
    reference = v2.Compose(
        [
            v2.Resize(size, antialias=True),
            v2.RandomCrop(32),
            v2.RandomHorizontalFlip(0.5),
            v2.ToDtype(torch.float32, scale=True),
            v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.2, 0.1)], 0.8),
            v2.RandomGrayscale(0.2),
            v2.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )
    transform = TrainTransform(32, size)
    for seed in range(20):
        torch.manual_seed(seed)
        expected = reference(image)
        torch.manual_seed(seed)
        torch.testing.assert_close(transform(image), expected, atol=1e-4, rtol=0)
        again = transform(image, torch.Generator().manual_seed(seed))
        torch.testing.assert_close(again, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("shape", [(45, 70), (70, 45), (40, 40), (40, 300)])
def test_a_scaled_square_is_founds(shape: tuple[int, int]) -> None:
    """Its published code, by Pillow: the short side, then both by a factor, then the square."""
    image = photo(*shape)
    transform = TrainTransform(40, 40, flip=0, jitter_p=0, grayscale_p=0, scale_range=(0.1, 3.0))
    short = resize_short_side(image, 40)
    pillow = Image.fromarray(short.permute(1, 2, 0).numpy())
    for seed in range(12):
        factor = float(torch.empty(1).uniform_(0.1, 3.0, generator=torch.Generator().manual_seed(seed)))
        scaled = pillow.resize([int(side * factor) for side in pillow.size], Image.Resampling.BILINEAR)
        expected = np.asarray(scaled.resize((40, 40), Image.Resampling.BILINEAR))
        view = cut(transform, short, torch.Generator().manual_seed(seed))
        assert np.abs(view.permute(1, 2, 0).numpy().astype(int) - expected).max() <= 2


def test_a_scaled_crop_is_part_of_the_photograph_or_lies_within_its_mean_colour() -> None:
    image = torch.tensor([200, 100, 50], dtype=torch.uint8)[:, None, None].expand(3, 40, 60).clone()
    image[:, :, :30] = 0
    transform = TrainTransform(40, 40, flip=0, scale_range=(0.1, 3.0), scaled_to="crop")
    mean = torch.tensor([100, 50, 25], dtype=torch.uint8)
    places = set()
    for seed in range(60):
        factor = float(torch.empty(1).uniform_(0.1, 3.0, generator=torch.Generator().manual_seed(seed)))
        view = cut(transform, image, torch.Generator().manual_seed(seed))
        if factor > 1:  # no pixel of the canvas, but between the halves, which are resized smoothly
            assert ((view == 0).all(0) | (view == image[:, :1, -1:]).all(0)).float().mean() > 0.85
        else:
            black = (view == 0).all(0)
            rows, columns = black.any(1).nonzero(), black.any(0).nonzero()
            assert len(rows) == int(40 * factor)  # its whole height
            assert (view[:, ~black.any(1)] == mean[:, None, None]).all()
            places.add((int(rows[0]), int(columns[0])) if len(columns) else None)
    assert len(places) > 10


@pytest.mark.parametrize("scaled_to", ["square", "crop"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (2000, 1), (33, 32)])
def test_every_image_gives_a_scaled_and_blurred_view(shape: tuple[int, int], scaled_to: Any) -> None:
    transform = TrainTransform(32, scale_range=(0.01, 0.02), scaled_to=scaled_to, blur_p=1)
    assert transform(photo(*shape)).shape == (3, 32, 32)


def test_the_blur_is_torchvisions_with_its_probability() -> None:
    image = photo(40, 40)
    noisy = (image.int() + torch.randint(-20, 20, image.shape)).clamp(0, 255).to(torch.uint8)
    transform = TrainTransform(40, 40, flip=0, blur_p=0.5, blur_sigma=(1.5, 1.5))
    expected = v2.functional.gaussian_blur(noisy, [5, 5], [1.5, 1.5]).int()
    blurred = 0
    for seed in range(200):
        view = cut(transform, noisy, torch.Generator().manual_seed(seed))
        same = torch.equal(view, noisy)
        assert same or (view.int() - expected).abs().max() <= 1
        blurred += not same
    assert blurred / 200 == pytest.approx(0.5, abs=0.1)


def test_sigmas_are_drawn_from_their_range() -> None:
    image = torch.zeros(3, 60, 60, dtype=torch.uint8)
    image[:, 30, 30] = 255
    transform = TrainTransform(60, 60, flip=0, blur_p=1, blur_sigma=(0.5, 2.0))
    peaks = [int(cut(transform, image, torch.Generator().manual_seed(seed)).max()) for seed in range(60)]
    shapes = [torch.exp(-0.5 * (torch.arange(-3, 4) / sigma) ** 2) for sigma in (0.5, 2.0)]  # 7 pixels wide
    highest, lowest = (255 * float((1 / shape.sum()) ** 2) for shape in shapes)
    assert lowest - 1 <= min(peaks) < lowest + 5
    assert highest - 40 < max(peaks) <= highest + 1


def test_what_is_off_draws_no_numbers() -> None:
    image = photo(40, 50)
    plain, off = TrainTransform(32, 40), TrainTransform(32, 40, scaled_to="crop", blur_p=0, blur_sigma=(1, 1))
    assert torch.equal(plain(image, torch.Generator().manual_seed(3)), off(image, torch.Generator().manual_seed(3)))


def test_probabilities_of_flip_and_grayscale() -> None:
    image = photo(40, 40)
    image[0, :, :20] = 255
    image[1, :, :20] = 0
    flipped = gray = 0
    transform = TrainTransform(32, 32, jitter_p=0)
    torch.manual_seed(0)
    for _ in range(400):
        rgb = denormalize(transform(image))
        gray += int(torch.allclose(rgb[0], rgb[1], atol=1e-3))
        flipped += int(rgb[0, :, -1].mean() > rgb[0, :, 0].mean())
    assert gray / 400 == pytest.approx(0.2, abs=0.06)
    assert flipped / 400 == pytest.approx(0.5, abs=0.08)


def test_colours_are_jittered_with_their_probability() -> None:
    image = photo(40, 40)
    transform = TrainTransform(32, 32, flip=0, grayscale_p=0)
    plain = to_input(CenterCropTransform(32, 32)(image))
    torch.manual_seed(0)
    changed = sum(not torch.allclose(transform(image), plain) for _ in range(200))
    assert changed / 200 == pytest.approx(0.8, abs=0.08)


def test_the_seed_decides() -> None:
    transform, image = TrainTransform(32), photo(50, 70)
    views = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        views.append(transform(image))
    assert torch.equal(views[0], views[1])
    assert not torch.equal(views[0], views[2])


def test_eval_transform_keeps_the_whole_image() -> None:
    image = photo(60, 90)
    whole = to_input(fit_short_side(image, 60, 10))
    torch.testing.assert_close(denormalize(whole) * 255, image.float(), atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resize": 300}, r"resize is 300, smaller than the crop of 320: pass --data\.resize 320"),
        ({"size": 0}, r"size is 0"),
        ({"flip": 1.5}, r"flip is 1\.5: a probability"),
        ({"jitter": [0.4, 0.4]}, r"jitter is \[0\.4, 0\.4\]"),
        ({"jitter": [0.4, 0.4, 0.2, 0.6]}, r"hue \(0 to 0\.5\)"),
        ({"grayscale_p": -0.1}, r"--data\.grayscale_p"),
        ({"blur_p": 2}, r"blur_p is 2: a probability"),
        ({"scale_range": [0, 3]}, r"scale_range is \[0, 3\]: .* above 0 and at most 10, .*--data\.scale_range '\[0\.1"),
        ({"scale_range": [3, 0.1]}, "the lowest and the highest"),
        ({"scale_range": [1, float("nan")]}, "scale_range is"),
        ({"blur_sigma": [1]}, r"blur_sigma is \[1\]"),
        ({"scaled_to": "fit"}, "scaled_to is 'fit': pass square or crop"),
        ({"placement": "left"}, r"placement is 'left': pass random or corner, for example --data\.placement"),
    ],
)
def test_options_out_of_range_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        TrainTransform(**options)  # type: ignore[arg-type]


def object_and_mask(height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A white rectangle off the middle on black, and its mask."""
    mask = torch.zeros(1, height, width, dtype=torch.uint8)
    mask[:, height // 5 : height // 2, width // 8 : width // 2] = 255
    return mask.expand(3, -1, -1).clone(), mask


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"scale_range": (0.3, 2)},
        {"scale_range": (0.3, 2), "scaled_to": "crop"},
        {"scale_range": (0.3, 1), "scaled_to": "crop", "placement": "corner"},
    ],
)
@pytest.mark.parametrize("shape", [(150, 200), (200, 150), (60, 300)])
def test_image_and_target_are_cut_by_one_geometry(shape: tuple[int, int], options: dict[str, Any]) -> None:
    image, mask = object_and_mask(*shape)
    transform = TrainTransform(96, 110, jitter_p=0, grayscale_p=0, **options)
    for seed in range(30):
        view, target = both(transform, image, mask, torch.Generator().manual_seed(seed))
        assert isinstance(target, torch.Tensor)
        assert (target.shape, target.dtype) == ((1, 96, 96), torch.uint8)
        assert ((denormalize(view)[0] > 0.5) != (target[0] > 0)).float().mean() < 0.03  # its edges
        assert torch.equal(view, transform(image, torch.Generator().manual_seed(seed)))


def test_targets_are_cropped_and_flipped_as_torchvision_does_it() -> None:
    image = photo(45, 70)
    ids = torch.randint(0, 400, (1, 45, 70), generator=torch.Generator().manual_seed(0))
    reference = v2.Compose([v2.RandomCrop(32), v2.RandomHorizontalFlip(0.5)])
    transform = TrainTransform(32, 45, jitter_p=0, grayscale_p=0)
    for seed in range(20):
        torch.manual_seed(seed)
        _, expected = reference(tv_tensors.Image(image), tv_tensors.Mask(ids))
        _, target = both(transform, image, ids, torch.Generator().manual_seed(seed))
        assert torch.equal(target, torch.as_tensor(expected))  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [(45, 70), (7, 9), (90, 31), (1, 200)])
def test_resized_targets_are_torchs_nearest_pixels(size: tuple[int, int]) -> None:
    mask = torch.randint(0, 256, (1, 45, 70), dtype=torch.uint8)
    expected = torch.nn.functional.interpolate(mask[None], size, mode="nearest-exact")[0]
    assert torch.equal(resize_target(mask, *size), expected)  # type: ignore[arg-type]
    assert torch.equal(resize_target(mask.long(), *size), expected.long())  # type: ignore[arg-type]


@pytest.mark.parametrize("flip", [0, 1])
def test_in_the_corner_means_top_left_and_top_right_after_a_flip(flip: int) -> None:
    image = torch.full((3, 40, 40), 200, dtype=torch.uint8)
    mask = torch.full((1, 40, 40), 255, dtype=torch.uint8)
    options: dict[str, Any] = {
        "flip": flip,
        "jitter_p": 0,
        "grayscale_p": 0,
        "scaled_to": "crop",
        "placement": "corner",
    }
    transform = TrainTransform(40, 40, scale_range=(0.5, 0.5), **options)
    expected = torch.zeros(40, 40, dtype=torch.bool)
    expected[:20, slice(20, 40) if flip else slice(0, 20)] = True
    for seed in range(5):
        _, target = both(transform, image, mask, torch.Generator().manual_seed(seed))
        assert torch.equal(target[0] > 0, expected)  # type: ignore[arg-type]


def test_without_its_aspect_the_whole_photograph_fills_the_square() -> None:
    image = torch.arange(60, dtype=torch.uint8).expand(3, 40, 60).contiguous()
    mask = torch.zeros(1, 40, 60, dtype=torch.uint8)
    mask[..., 30:] = 255
    transform = TrainTransform(40, 40, flip=0, jitter_p=0, grayscale_p=0, keep_aspect=False)
    view = transform.draw(40, 60)
    expected = interpolate(image[None], (40, 40), mode="bilinear", antialias=True)[0]
    assert torch.equal(view.image(image), expected)
    assert torch.equal(view.target(mask)[0] > 0, (torch.arange(40) >= 20).expand(40, 40))  # type: ignore[index]


def test_label_maps_are_void_outside_of_the_photograph_and_masks_are_background() -> None:
    transform = TrainTransform(40, 40, flip=0, scale_range=(0.5, 0.5), scaled_to="crop", placement="corner")
    labels = torch.full((1, 40, 40), 7)
    objects = Instances(torch.ones(2, 40, 40, dtype=torch.bool), torch.tensor([3, 4]), torch.tensor([0.5, 1]))
    _, cut_labels = both(transform, photo(40, 40), labels)
    assert cut_labels[:, :20, :20].eq(7).all()  # type: ignore[union-attr, call-overload]
    assert cut_labels[:, 20:].eq(VOID).all()  # type: ignore[union-attr, call-overload]
    _, cut_objects = both(transform, photo(40, 40), objects)
    assert isinstance(cut_objects, Instances)
    assert (cut_objects.masks.shape, cut_objects.masks.dtype) == ((2, 40, 40), torch.bool)
    assert cut_objects.masks.sum((1, 2)).tolist() == [400, 400]
    assert cut_objects.labels.tolist() == [3, 4]
    _, cut_both = both(transform, photo(40, 40), Panoptic(objects, labels))
    assert isinstance(cut_both, Panoptic)
    assert torch.equal(cut_both.instances.masks, cut_objects.masks)
    assert torch.equal(cut_both.semantic, cut_labels)  # type: ignore[arg-type]


def test_colours_and_blur_touch_images_alone() -> None:
    image, mask = object_and_mask(50, 60)
    plain = TrainTransform(32, 40, jitter_p=0, grayscale_p=0)
    loud = TrainTransform(32, 40, jitter_p=1, grayscale_p=1, blur_p=1)
    for seed in range(5):
        views = [both(transform, image, mask, torch.Generator().manual_seed(seed)) for transform in (plain, loud)]
        assert not torch.equal(views[0][0], views[1][0])
        assert torch.equal(views[0][1], views[1][1])  # type: ignore[arg-type]


@pytest.mark.parametrize("placement", ["random", "corner"])
def test_random_numbers_are_drawn_in_an_order_that_runs_rely_on(placement: Any) -> None:
    transform = TrainTransform(40, 40, scale_range=(0.3, 2), scaled_to="crop", blur_p=0.5, placement=placement)
    for seed in range(40):
        torch.manual_seed(seed)
        factor = float(torch.empty(1).uniform_(0.3, 2))
        scaled = int(40 * factor), int(60 * factor)
        starts = [int(torch.randint(abs(side - 40) + 1, ())) if side != 40 else 0 for side in scaled]
        mirrored = bool(torch.rand(1) < 0.5)
        sigma = float(torch.empty(1).uniform_(0.1, 2)) if torch.rand(1) < 0.5 else None
        inside = 0 if placement == "corner" else -1
        top, left = (start if side > 40 else inside * start for start, side in zip(starts, scaled, strict=True))
        view = transform.draw(40, 60, torch.Generator().manual_seed(seed))
        assert view == View(40, scaled, top, left, mirrored, sigma)
