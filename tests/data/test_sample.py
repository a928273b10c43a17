from pathlib import Path

import pytest
import torch

from segtricks.data.images import UnreadableImage, read_image, read_mask
from segtricks.data.sample import SegmentationDataset
from segtricks.errors import UserError


@pytest.fixture
def dataset(tmp_path: Path, write) -> SegmentationDataset:  # type: ignore[no-untyped-def]
    images = [write(tmp_path / f"{i}.png", seed=i) for i in range(5)]
    masks = [write(tmp_path / f"mask/{i}.png", mask=True) for i in range(5)]
    return SegmentationDataset("photos", images, masks)


def test_a_sample_is_image_mask_and_path(dataset: SegmentationDataset) -> None:
    sample = dataset[2]
    assert torch.equal(sample["image"], read_image(dataset.images[2]))
    assert sample["target"] is not None
    assert sample["target"][0, :, :6].eq(255).all()
    assert sample["target"][0, :, 6:].eq(0).all()
    assert sample["path"] == str(dataset.images[2])


def test_without_masks_the_mask_is_none(dataset: SegmentationDataset) -> None:
    bare = SegmentationDataset("photos", dataset.images)
    assert bare[0]["target"] is None
    assert bare.read_mask(0) is None


def test_reading_an_image_never_touches_its_mask(dataset: SegmentationDataset) -> None:
    for mask in dataset.masks or []:
        mask.unlink()
    assert dataset.read_image(0).shape == (3, 8, 12)
    with pytest.raises(UnreadableImage, match="no such file"):
        dataset[0]


def test_sizes_that_differ_are_both_named(dataset: SegmentationDataset, write) -> None:  # type: ignore[no-untyped-def]
    assert dataset.masks is not None
    write(dataset.masks[1], mask=True, size=(9, 7))
    with pytest.raises(UnreadableImage, match=r"1\.png: the image is 12 x 8 pixels, its mask .*1\.png\) 9 x 7"):
        dataset[1]


def test_select_keeps_pairs_together_and_the_original_whole(dataset: SegmentationDataset) -> None:
    chosen = dataset.select([4, 1])
    assert [path.name for path in chosen.images] == ["4.png", "1.png"]
    assert [path.name for path in chosen.masks or []] == ["4.png", "1.png"]
    assert len(dataset) == 5


def test_part_counts_as_a_python_slice(dataset: SegmentationDataset) -> None:
    assert dataset.part(None, 2).images == dataset.images[:2]
    assert dataset.part(-2, None).images == dataset.images[-2:]
    assert dataset.part(3, 100).images == dataset.images[3:]


def test_an_empty_part_is_an_error(dataset: SegmentationDataset) -> None:
    with pytest.raises(UserError, match=r"photos\[7:\] is empty: photos has 5 images, 0 to 4"):
        dataset.part(7, None)


def test_real_pairs_have_equal_sizes(photographs: Path) -> None:
    names = sorted(path.stem for path in (photographs / "ECSSD/images").iterdir())[::50]
    images = [photographs / f"ECSSD/images/{name}.jpg" for name in names]
    dataset = SegmentationDataset("ecssd", images, [photographs / f"ECSSD/ground_truth_mask/{n}.png" for n in names])
    for index, mask in enumerate(dataset.masks or []):
        sample = dataset[index]
        assert sample["target"] is not None
        assert sample["image"].shape[1:] == sample["target"].shape[1:]
        assert torch.equal(sample["target"], read_mask(mask))


def numbered(count: int) -> SegmentationDataset:
    return SegmentationDataset("photos", [Path(f"{i:03d}.png") for i in range(count)])


@pytest.mark.parametrize(("held_out", "count"), [(3, 3), (0.02, 2), (0.25, 25), (0.001, 1), (99, 99)])
def test_training_and_held_out_images_are_all_images_once(held_out: float, count: int) -> None:
    train, kept = numbered(100).hold_out(held_out)
    assert len(kept) == count
    assert sorted(train.images + kept.images) == numbered(100).images
    assert train.images == sorted(train.images)
    assert kept.images == sorted(kept.images)


def test_the_split_is_always_the_same_and_no_mere_prefix() -> None:
    kept = numbered(100).hold_out(10)[1].images
    assert kept == numbered(100).hold_out(10)[1].images
    assert kept != numbered(100).images[:10]


def test_a_limit_counts_all_images_and_smaller_ones_are_subsets() -> None:
    small, large = numbered(100).hold_out(0.1, 20), numbered(100).hold_out(0.1, 40)
    assert (len(small[0]), len(small[1]), len(large[0]), len(large[1])) == (18, 2, 36, 4)
    assert set(small[0].images + small[1].images) < set(large[0].images + large[1].images)


@pytest.mark.parametrize("held_out", [0, -1, 1.0, -0.5, 0.0])
def test_legal_numbers_are_named(held_out: float) -> None:
    with pytest.raises(UserError, match=r"pass a number of images from 1 on, or a share such as 0\.02"):
        numbered(10).hold_out(held_out)


@pytest.mark.parametrize(("count", "held_out"), [(10, 10), (10, 500), (1, 0.02), (2, 0.9)])
def test_something_must_be_left_to_train_on(count: int, held_out: float) -> None:
    with pytest.raises(
        UserError, match=rf"of photos, which has {count} images in all, leaves none to train on: .*held_out 1"
    ):
        numbered(count).hold_out(held_out)


def test_targets_are_masks_until_another_kind_is_asked_for(dataset: SegmentationDataset) -> None:
    assert dataset[1]["target_kind"] == "mask"
    labelled = dataset.with_targets("labels")
    assert labelled[1]["target_kind"] == "labels"
    labels = labelled.read_target(1)
    assert isinstance(labels, torch.Tensor)
    assert (labels.dtype, labels.shape) == (torch.int64, (1, 8, 12))
    assert labels.unique().tolist() == [0, 255]
    assert dataset.select([1]).with_targets("labels").select([0])[0]["target_kind"] == "labels"
    assert dataset.target_kind == "mask"


def test_a_kind_that_a_dataset_cannot_give_is_refused(dataset: SegmentationDataset) -> None:
    with pytest.raises(UserError, match="photos has no targets of the kind 'instances'; it has mask or labels"):
        dataset.with_targets("instances")
    with pytest.raises(UserError, match="it has none"):
        SegmentationDataset("photos", dataset.images).with_targets("mask")
    assert SegmentationDataset("photos", dataset.images)[0]["target_kind"] is None
