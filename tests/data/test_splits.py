from pathlib import Path

import pytest

from segtricks.data.sample import SaliencyDataset
from segtricks.data.splits import hold_out
from segtricks.errors import UserError


def dataset(count: int) -> SaliencyDataset:
    return SaliencyDataset("photos", [Path(f"{i:03d}.png") for i in range(count)])


@pytest.mark.parametrize(("held_out", "count"), [(3, 3), (0.02, 2), (0.25, 25), (0.001, 1), (99, 99)])
def test_training_and_held_out_images_are_all_images_once(held_out: float, count: int) -> None:
    train, kept = hold_out(dataset(100), held_out)
    assert len(kept) == count
    assert sorted(train.images + kept.images) == dataset(100).images
    assert train.images == sorted(train.images)
    assert kept.images == sorted(kept.images)


def test_the_split_is_always_the_same_and_no_mere_prefix() -> None:
    kept = hold_out(dataset(100), 10)[1].images
    assert kept == hold_out(dataset(100), 10)[1].images
    assert kept != dataset(100).images[:10]


def test_a_limit_counts_all_images_and_smaller_ones_are_subsets() -> None:
    small, large = hold_out(dataset(100), 0.1, 20), hold_out(dataset(100), 0.1, 40)
    assert (len(small[0]), len(small[1]), len(large[0]), len(large[1])) == (18, 2, 36, 4)
    assert set(small[0].images + small[1].images) < set(large[0].images + large[1].images)


@pytest.mark.parametrize("held_out", [0, -1, 1.0, -0.5, 0.0])
def test_legal_numbers_are_named(held_out: float) -> None:
    with pytest.raises(UserError, match=r"pass a number of images from 1 on, or a share such as 0\.02"):
        hold_out(dataset(10), held_out)


@pytest.mark.parametrize(("count", "held_out"), [(10, 10), (10, 500), (1, 0.02), (2, 0.9)])
def test_something_must_be_left_to_train_on(count: int, held_out: float) -> None:
    with pytest.raises(
        UserError, match=rf"of photos, which has {count} images in all, leaves none to train on: .*held_out 1"
    ):
        hold_out(dataset(count), held_out)
