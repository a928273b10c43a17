from pathlib import Path

import pytest
import torch

from segtricks.data.folder import ImageFolder
from segtricks.data.loading import CropItems, Skipped, TrainItems, WholeItems, collate_lists, collate_stacked
from segtricks.data.synthetic import SyntheticShapes
from segtricks.data.transforms import CenterCropTransform, EvalTransform, TrainTransform, to_input


@pytest.fixture
def shapes() -> SyntheticShapes:
    return SyntheticShapes(6, 40)


def test_a_view_is_a_function_of_seed_epoch_and_index(shapes: SyntheticShapes) -> None:
    items = TrainItems(shapes, TrainTransform(32), seed=5)
    first = items[(2, 3)]
    torch.manual_seed(123)
    items[(0, 0)]
    assert torch.equal(first["image"], items[(2, 3)]["image"])  # type: ignore[call-overload]
    others = [items[(1, 3)], TrainItems(shapes, TrainTransform(32), seed=6)[(2, 3)]]
    assert not any(torch.equal(first["image"], other["image"]) for other in others)  # type: ignore[call-overload]


def test_the_callers_random_numbers_are_left_alone(shapes: SyntheticShapes) -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    TrainItems(shapes, TrainTransform(32), seed=5)[(0, 0)]
    assert torch.equal(torch.rand(3), expected)


def test_a_bare_index_means_epoch_0(shapes: SyntheticShapes) -> None:
    items = TrainItems(shapes, TrainTransform(32), seed=5)
    assert torch.equal(items[4]["image"], items[(0, 4)]["image"])  # type: ignore[call-overload]


def test_training_never_opens_masks(tmp_path: Path, write) -> None:  # type: ignore[no-untyped-def]
    write(tmp_path / "photos/a.jpg")
    mask = write(tmp_path / "masks/a.png", mask=True)
    dataset = ImageFolder(tmp_path / "photos", tmp_path / "masks")
    mask.unlink()
    item = TrainItems(dataset, TrainTransform(8), seed=0)[(0, 0)]
    assert set(item) == {"image", "path"}  # type: ignore[arg-type]


def test_broken_files_become_skipped_items(tmp_path: Path, write) -> None:  # type: ignore[no-untyped-def]
    path = write(tmp_path / "a.jpg")
    path.write_bytes(b"")
    dataset = ImageFolder(tmp_path)
    crop = CenterCropTransform(8)
    for items in (
        TrainItems(dataset, TrainTransform(8), 0),
        CropItems(dataset, crop),
        WholeItems(dataset, EvalTransform()),
    ):
        assert items[0] == Skipped(str(path), "empty file")


def test_a_mask_of_another_size_skips_its_image(tmp_path: Path, write) -> None:  # type: ignore[no-untyped-def]
    write(tmp_path / "photos/a.jpg", size=(12, 8))
    write(tmp_path / "masks/a.png", mask=True, size=(6, 4))
    item = WholeItems(ImageFolder(tmp_path / "photos", tmp_path / "masks"), EvalTransform())[0]
    assert isinstance(item, Skipped)
    assert "12 x 8" in item.reason
    assert "6 x 4" in item.reason


def test_crop_items_hold_the_middle_and_a_mask_of_0_and_1(shapes: SyntheticShapes) -> None:
    crop = CenterCropTransform(32, 36)
    item = CropItems(shapes, crop)[1]
    assert torch.equal(item["image"], to_input(crop(shapes.read_image(1))))  # type: ignore[call-overload]
    assert item["mask"].unique().tolist() == [0, 1]  # type: ignore[call-overload]
    assert item["mask"].shape == (1, 32, 32)  # type: ignore[call-overload]


def test_whole_items_keep_photo_and_mask_at_their_own_size(tmp_path: Path, write) -> None:  # type: ignore[no-untyped-def]
    write(tmp_path / "photos/a.jpg", size=(120, 80))
    write(tmp_path / "masks/a.png", mask=True, size=(120, 80))
    dataset = ImageFolder(tmp_path / "photos", tmp_path / "masks")
    item = WholeItems(dataset, EvalTransform(32, 8))[0]
    assert item["image"].shape == (3, 32, 48)  # type: ignore[call-overload]
    assert torch.equal(item["photo"], dataset.read_image(0))  # type: ignore[call-overload]
    assert torch.equal(item["mask"], dataset.read_mask(0))  # type: ignore[call-overload, arg-type]


def test_the_crop_cuts_all_three_alike(shapes: SyntheticShapes) -> None:
    crop = CenterCropTransform(32, 36)
    item = WholeItems(shapes, EvalTransform(32, 8), crop)[0]
    assert torch.equal(item["photo"], crop(shapes.read_image(0)))  # type: ignore[call-overload]
    assert torch.equal(item["mask"], crop(shapes.read_mask(0)))  # type: ignore[call-overload]
    assert torch.equal(item["image"], to_input(item["photo"]))  # type: ignore[call-overload]


def test_collating_leaves_broken_files_out_and_lists_them() -> None:
    items = [
        {"image": torch.ones(3, 2, 2), "path": "a"},
        Skipped("b", "empty file"),
        {"image": torch.zeros(3, 2, 2), "path": "c"},
    ]
    stacked = collate_stacked(items, ("image", "path"), 2)
    assert stacked["image"][:, 0, 0, 0].tolist() == [1, 0]
    assert stacked["path"] == ["a", "c"]
    assert stacked["skipped"] == [("b", "empty file")]
    assert type(stacked["skipped"][0]) is tuple
    lists = collate_lists(items, ("image", "path"))
    assert [image.shape for image in lists["image"]] == [(3, 2, 2)] * 2


def test_a_batch_of_broken_files_is_empty_but_whole() -> None:
    broken = [Skipped("a", "empty file"), Skipped("b", "empty file")]
    stacked = collate_stacked(broken, ("image", "mask", "path"), 16)
    assert (stacked["image"].shape, stacked["mask"].shape) == ((0, 3, 16, 16), (0, 1, 16, 16))
    assert stacked["path"] == []
    assert len(stacked["skipped"]) == 2
    assert collate_lists(broken, ("image", "photo", "path"))["photo"] == []
