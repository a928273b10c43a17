from pathlib import Path

import pytest

from segtricks.data.folder import ImageFolder
from segtricks.errors import UserError


def test_photographs_of_any_depth(tmp_path: Path, write) -> None:  # type: ignore[no-untyped-def]
    paths = [write(tmp_path / "photos" / name) for name in ("a.png", "x/b.jpg", "x/y/c.bmp")]
    dataset = ImageFolder(tmp_path / "photos")
    assert dataset.name == "photos"
    assert dataset.images == paths
    assert dataset.masks is None


def test_masks_pair_by_their_path_below_the_folder(tmp_path: Path, write) -> None:  # type: ignore[no-untyped-def]
    for name in ("cats/1", "dogs/1", "2"):
        write(tmp_path / "photos" / f"{name}.jpg")
        write(tmp_path / "masks" / f"{name}.png", mask=True)
    write(tmp_path / "masks/2.jpg", mask=True)  # beside 2.png
    dataset = ImageFolder(tmp_path / "photos", tmp_path / "masks")
    assert dataset.masks is not None
    relative = [path.relative_to(tmp_path / "masks").as_posix() for path in dataset.masks]
    assert relative == ["2.png", "cats/1.png", "dogs/1.png"]


def test_masks_within_the_photographs_folder_are_no_photographs(tmp_path: Path, write) -> None:  # type: ignore[no-untyped-def]
    photo = write(tmp_path / "1.jpg")
    mask = write(tmp_path / "masks/1.png", mask=True)
    dataset = ImageFolder(tmp_path, tmp_path / "masks")
    assert (dataset.images, dataset.masks) == ([photo], [mask])


def test_what_does_not_pair_is_named(tmp_path: Path, write) -> None:  # type: ignore[no-untyped-def]
    write(tmp_path / "photos/x/1.jpg")
    write(tmp_path / "masks/1.png", mask=True)
    with pytest.raises(UserError, match="photos: 1 of its images have no mask of the same name: x/1"):
        ImageFolder(tmp_path / "photos", tmp_path / "masks")


def test_real_video_frames_pair(photographs: Path) -> None:
    dataset = ImageFolder(photographs / "DAVIS/JPEGImages", photographs / "DAVIS/Annotations")
    assert len(dataset) == 46
    sample = dataset[20]
    assert sample["mask"] is not None
    assert sample["mask"].unique().tolist() == [0, 255]
    assert Path(sample["path"]).parent.name != "JPEGImages"
