from pathlib import Path

import pytest
import torch

from segtricks.data.images import UnreadableImage, read_image, read_mask
from segtricks.data.sample import SaliencyDataset
from segtricks.errors import UserError


@pytest.fixture
def dataset(tmp_path: Path, write) -> SaliencyDataset:  # type: ignore[no-untyped-def]
    images = [write(tmp_path / f"{i}.png", seed=i) for i in range(5)]
    masks = [write(tmp_path / f"mask/{i}.png", mask=True) for i in range(5)]
    return SaliencyDataset("photos", images, masks)


def test_a_sample_is_image_mask_and_path(dataset: SaliencyDataset) -> None:
    sample = dataset[2]
    assert torch.equal(sample["image"], read_image(dataset.images[2]))
    assert sample["mask"] is not None
    assert sample["mask"][0, :, :6].eq(255).all()
    assert sample["mask"][0, :, 6:].eq(0).all()
    assert sample["path"] == str(dataset.images[2])


def test_without_masks_the_mask_is_none(dataset: SaliencyDataset) -> None:
    bare = SaliencyDataset("photos", dataset.images)
    assert bare[0]["mask"] is None
    assert bare.read_mask(0) is None


def test_reading_an_image_never_touches_its_mask(dataset: SaliencyDataset) -> None:
    for mask in dataset.masks or []:
        mask.unlink()
    assert dataset.read_image(0).shape == (3, 8, 12)
    with pytest.raises(UnreadableImage, match="no such file"):
        dataset[0]


def test_sizes_that_differ_are_both_named(dataset: SaliencyDataset, write) -> None:  # type: ignore[no-untyped-def]
    assert dataset.masks is not None
    write(dataset.masks[1], mask=True, size=(9, 7))
    with pytest.raises(UnreadableImage, match=r"1\.png: the image is 12 x 8 pixels, its mask .*1\.png\) 9 x 7"):
        dataset[1]


def test_select_keeps_pairs_together_and_the_original_whole(dataset: SaliencyDataset) -> None:
    chosen = dataset.select([4, 1])
    assert [path.name for path in chosen.images] == ["4.png", "1.png"]
    assert [path.name for path in chosen.masks or []] == ["4.png", "1.png"]
    assert len(dataset) == 5


def test_part_counts_as_a_python_slice(dataset: SaliencyDataset) -> None:
    assert dataset.part(None, 2).images == dataset.images[:2]
    assert dataset.part(-2, None).images == dataset.images[-2:]
    assert dataset.part(3, 100).images == dataset.images[3:]


def test_an_empty_part_is_an_error(dataset: SaliencyDataset) -> None:
    with pytest.raises(UserError, match=r"photos\[7:\] is empty: photos has 5 images, 0 to 4"):
        dataset.part(7, None)


def test_real_pairs_have_equal_sizes(photographs: Path) -> None:
    names = sorted(path.stem for path in (photographs / "ECSSD/images").iterdir())[::50]
    images = [photographs / f"ECSSD/images/{name}.jpg" for name in names]
    dataset = SaliencyDataset("ecssd", images, [photographs / f"ECSSD/ground_truth_mask/{n}.png" for n in names])
    for index, mask in enumerate(dataset.masks or []):
        sample = dataset[index]
        assert sample["mask"] is not None
        assert sample["image"].shape[1:] == sample["mask"].shape[1:]
        assert torch.equal(sample["mask"], read_mask(mask))
