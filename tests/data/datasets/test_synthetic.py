import time

import numpy as np
import pytest
import torch

from segtricks.data.datasets.synthetic import SyntheticShapes
from segtricks.errors import UserError


@pytest.mark.parametrize("size", [16, 96, 160])
def test_images_and_masks_are_uint8_of_the_wanted_size(size: int) -> None:
    sample = SyntheticShapes(3, size)[2]
    assert sample["target"] is not None
    assert (sample["image"].dtype, sample["target"].dtype) == (torch.uint8, torch.uint8)
    assert (sample["image"].shape, sample["target"].shape) == ((3, size, size), (1, size, size))
    assert sample["target"].unique().tolist() == [0, 255]


def test_an_image_depends_on_seed_and_index_alone() -> None:
    first, again = SyntheticShapes(5, 64, seed=3), SyntheticShapes(50, 64, seed=3)
    later = again.select([40, 4])
    assert torch.equal(first[4]["image"], later[1]["image"])
    assert torch.equal(first[4]["target"], later.read_mask(1))  # type: ignore[arg-type]
    assert not torch.equal(first[4]["image"], first[3]["image"])
    assert not torch.equal(first[4]["image"], SyntheticShapes(5, 64, seed=4)[4]["image"])


def test_the_object_covers_8_to_35_percent() -> None:
    dataset = SyntheticShapes(150, 96)
    covers = [dataset.read_mask(i).float().mean().item() / 255 for i in range(len(dataset))]
    assert min(covers) > 0.08
    assert max(covers) < 0.35
    assert np.std(covers) > 0.04


def patches(values: np.ndarray) -> np.ndarray:
    height, width = values.shape[0] // 8, values.shape[1] // 8
    return values.reshape(height, 8, width, 8, -1).swapaxes(1, 2).reshape(height * width, 64, -1)


def test_colour_and_texture_of_patches_tell_the_object_but_brightness_does_not() -> None:
    dataset = SyntheticShapes(60, 128, seed=7)
    by_colour, by_brightness = [], []
    for i in range(len(dataset)):
        pixels = patches(dataset.read_image(i).permute(1, 2, 0).numpy() / 255)
        cover = patches(dataset.read_mask(i)[0].numpy() / 255).mean((1, 2))
        sure = (cover < 0.1) | (cover > 0.9)
        target = np.where(cover[sure] > 0.5, 1.0, -1.0)
        for scores, features in (
            (by_colour, np.hstack([pixels.mean(1), pixels.std(1)])),
            (by_brightness, pixels.mean((1, 2))[:, None]),
        ):
            design = np.hstack([features, np.ones((len(features), 1))])[sure]
            fit = design @ np.linalg.lstsq(design, target, rcond=None)[0]
            scores.append(np.mean([(np.sign(fit) == target)[target == side].mean() for side in (-1, 1)]))
    assert np.mean(by_colour) > 0.97
    assert np.mean(by_brightness) < 0.9


def test_parts_beyond_the_count_draw_more_and_do_not_overlap() -> None:
    dataset = SyntheticShapes(10, 32)
    train, test = dataset.part(None, 200), dataset.part(200, 240)
    assert (len(train), len(test), len(dataset)) == (200, 40, 10)
    assert not set(train.images) & set(test.images)
    assert torch.equal(test[0]["image"], SyntheticShapes(201, 32)[200]["image"])


def test_drawing_is_fast() -> None:
    dataset = SyntheticShapes(40, 128)
    dataset[0]
    best = float("inf")
    for _ in range(5):  # the best of five: the machine may have other work
        start = time.perf_counter()
        for i in range(40):
            dataset[i]
        best = min(best, (time.perf_counter() - start) / 40)
    assert best < 0.009  # measured: 0.002


def test_options_out_of_range_are_named() -> None:
    for options in ({"count": 0}, {"size": 8}, {"seed": -1}):
        with pytest.raises(UserError, match="count is at least 1, size at least 16, seed at least 0"):
            SyntheticShapes(**options)
