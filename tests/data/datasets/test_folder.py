from pathlib import Path

import pytest

from segtricks.data.datasets.folder import ImageFolder, fits_list, read_list, write_list
from segtricks.data.pairing import LeftOut
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
    write(tmp_path / "masks/2.jpg", mask=True)  # next to 2.png
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


def test_a_mask_that_lies_there_twice_is_named(tmp_path: Path, write) -> None:  # type: ignore[no-untyped-def]
    write(tmp_path / "photos/1.jpg")
    write(tmp_path / "masks/1.png", mask=True)
    other = write(tmp_path / "masks/1.bmp", mask=True)
    assert ImageFolder(tmp_path / "photos", tmp_path / "masks").left_out == [LeftOut(other, "double")]


def test_a_list_names_files_relative_to_its_own_folder_or_absolutely(tmp_path: Path, write) -> None:  # type: ignore[no-untyped-def]
    near, far = write(tmp_path / "lists/b.jpg"), write(tmp_path / "elsewhere/a.png")
    text = f"\ufeff# mine\r\n\r\n  b.jpg  \n{far}\nb.jpg\n"
    (tmp_path / "lists/Some.TXT").write_text(text, encoding="utf-8", newline="")
    dataset = ImageFolder(tmp_path / "lists/Some.TXT")
    assert dataset.images == [near, far]
    assert (dataset.name, dataset.masks, dataset.root) == ("Some", None, tmp_path)
    assert dataset[0]["path"] == str(near)


def test_masks_of_a_list_are_those_that_its_paths_end_in_and_others_are_not_missed(tmp_path: Path, write) -> None:  # type: ignore[no-untyped-def]
    for name in ("cats/1", "cats/2", "dogs/1"):
        write(tmp_path / f"photos/{name}.jpg")
        write(tmp_path / f"masks/{name}.png", mask=True)
    (tmp_path / "some.txt").write_text("photos/dogs/1.jpg\nphotos/cats/2.jpg\n")
    dataset = ImageFolder(tmp_path / "some.txt", tmp_path / "masks", strict=True)
    assert dataset.masks == [tmp_path / "masks/dogs/1.png", tmp_path / "masks/cats/2.png"]
    flat = ImageFolder(tmp_path / "some.txt", tmp_path / "masks/cats", max_unpaired=0.5)
    assert flat.masks == [tmp_path / f"masks/cats/{name}.png" for name in "12"]  # all that this folder's names tell


def test_listed_files_that_do_not_exist_are_counted_and_three_named(tmp_path: Path, write) -> None:  # type: ignore[no-untyped-def]
    there = [write(tmp_path / f"{i}.png") for i in range(4)]
    (tmp_path / "some.txt").write_text("\n".join([*"wxyz", *(path.name for path in there)]))
    with pytest.raises(
        UserError, match=r"some: 4 of the 8 files listed .* do not exist: \S*w, \S*x, \S*y, …\.\n.*relative to"
    ):
        ImageFolder(tmp_path / "some.txt")
    with pytest.warns(UserWarning, match="4 of the 8 files .* They are left out"):
        dataset = ImageFolder(tmp_path / "some.txt", max_unpaired=0.5)
    assert dataset.images == there
    assert dataset.left_out == [LeftOut(tmp_path / name, "missing") for name in "wxyz"]


def test_files_that_are_not_lists_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("# nothing\n\n")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    for name, message in (("none", "No list"), ("empty", "names no files"), ("binary", "not UTF-8 text")):
        with pytest.raises(UserError, match=message):
            ImageFolder(tmp_path / f"{name}.txt")


def test_a_written_list_reads_back_whatever_the_names(tmp_path: Path, write, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    names = ("deep/lists/#1.png", "deep/lists/~2.png", "deep/lists/ 3.png", "deep/lists/[x] ü\u2028.png", "4.png")
    paths = [write(tmp_path / name) for name in names]
    assert all(fits_list(path) for path in paths)
    monkeypatch.chdir(tmp_path)
    write_list("deep/lists/all.txt", [path.relative_to(tmp_path) for path in paths])
    assert [path.resolve() for path in read_list("deep/lists/all.txt")] == paths
    (tmp_path / "deep").rename(tmp_path / "moved")  # what lies below the list may move with it
    assert sum(path.exists() for path in read_list("moved/lists/all.txt")) == len(paths)
    assert not any(fits_list(Path(name)) for name in ("a\nb.png", "a\rb.png", "\udcff.png"))


def test_real_video_frames_pair(photographs: Path) -> None:
    dataset = ImageFolder(photographs / "DAVIS/JPEGImages", photographs / "DAVIS/Annotations")
    assert len(dataset) == 46
    sample = dataset[20]
    assert sample["target"] is not None
    assert sample["target"].unique().tolist() == [0, 255]
    assert Path(sample["path"]).parent.name != "JPEGImages"
