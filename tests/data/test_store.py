import errno
import multiprocessing
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from segtricks.data.images import UnreadableImage, find_images, read_image
from segtricks.data.store import ImageCache, default_folder
from segtricks.data.transforms import resize_short_side

SIZE = 20


def made(path: Path) -> torch.Tensor:
    return resize_short_side(read_image(path), SIZE)


def get(cache: ImageCache, path: Path) -> torch.Tensor:
    return cache.get(path, lambda: made(path))


def kept(cache: ImageCache, path: Path) -> torch.Tensor:
    """From the disk alone."""

    def never() -> torch.Tensor:
        raise AssertionError(f"{path} is not in the cache")

    return cache.get(path, never)


@pytest.fixture
def photo(tmp_path: Path, write: Callable[..., Path]) -> Path:
    return write(tmp_path / "a.jpg", size=(60, 40))


@pytest.fixture
def cache(tmp_path: Path) -> ImageCache:
    return ImageCache(tmp_path / "cache", SIZE)


def test_an_entry_is_bit_equal_to_what_it_was_made_from(cache: ImageCache, photo: Path) -> None:
    expected = made(photo)
    assert torch.equal(get(cache, photo), expected)
    assert torch.equal(kept(cache, photo), expected)
    assert torch.equal(kept(ImageCache(cache.folder, SIZE), photo), expected)
    entry = cache.entry(photo)
    assert entry.stat().st_size == expected.numel() + 128  # numpy's header
    assert (len(entry.parent.name), entry.parent.parent) == (2, cache.folder)


def test_a_rotated_photograph_is_kept_upright(cache: ImageCache, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    path = tmp_path / "turned.jpg"
    Image.new("RGB", (60, 40), "red").save(path, exif=exif)
    get(cache, path)
    assert kept(cache, path).shape == (3, 30, 20)


def test_a_changed_photograph_is_read_again(cache: ImageCache, photo: Path, write: Callable[..., Path]) -> None:
    before = get(cache, photo).clone()
    write(photo, size=(60, 40), seed=1)
    os.utime(photo, ns=(1, 1))
    after = get(cache, photo)
    assert not torch.equal(after, before)
    assert torch.equal(after, made(photo))


def test_equal_photographs_share_an_entry_and_sizes_do_not(cache: ImageCache, photo: Path) -> None:
    twin = photo.with_name("b.jpg")
    twin.write_bytes(photo.read_bytes())
    assert cache.entry(photo) == cache.entry(twin)
    assert cache.entry(photo) != ImageCache(cache.folder, SIZE + 1).entry(photo)


def test_a_file_is_hashed_once(cache: ImageCache, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    get(cache, photo)
    monkeypatch.setattr("hashlib.file_digest", None)
    kept(cache, photo)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data[:128],
        lambda data: data[:9],
        lambda data: b"",
        lambda data: b"PK\x03\x04" + data,
        lambda data: b"\x93NUMPY\x01\x00v\x00" + b"{" * 118 + data[128:],
        lambda data: data.replace(b"|u1", b"|i1"),
        lambda data: data.replace(b"(3, 20, 30)", b"(3, 30, 20)"[:4] + b"5, 24)" + b" "),
    ],
)
def test_a_damaged_entry_is_made_again(cache: ImageCache, photo: Path, damage: Callable[[bytes], bytes]) -> None:
    expected = get(cache, photo).clone()
    entry = cache.entry(photo)
    whole = entry.read_bytes()
    entry.write_bytes(damage(whole))
    assert entry.read_bytes() != whole
    assert torch.equal(get(cache, photo), expected)
    assert entry.read_bytes() == whole


def test_what_cannot_be_read_is_not_kept(cache: ImageCache, tmp_path: Path) -> None:
    empty = tmp_path / "empty.jpg"
    empty.touch()
    for path, reason in ((empty, "empty file"), (tmp_path / "none.jpg", "no such file")):
        for _ in range(2):
            with pytest.raises(UnreadableImage, match=reason):
                get(cache, path)
    assert not list(cache.folder.iterdir())


def test_drawn_images_are_not_kept(cache: ImageCache) -> None:
    drawn = torch.ones(3, 20, 20, dtype=torch.uint8)
    assert cache.get(Path("synthetic/0/000001.jpg"), lambda: drawn) is drawn
    assert not list(cache.folder.iterdir())


def test_a_folder_that_cannot_be_made_is_named_once(photo: Path) -> None:
    with pytest.warns(UserWarning, match=r"cache .*a\.jpg/below cannot be written to"):
        cache = ImageCache(photo / "below", SIZE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(get(cache, photo), made(photo))


def test_a_full_disk_is_named_once_and_what_was_kept_is_still_read(
    cache: ImageCache, photo: Path, write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    get(cache, photo)

    def full(path: Path, array: np.ndarray) -> None:
        path.write_bytes(b"some")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(np, "save", full)
    others = [write(photo.with_name(f"{i}.jpg"), size=(60, 40), seed=i) for i in (1, 2)]
    with pytest.warns(UserWarning, match="No space left on device") as caught:
        for other in others:
            assert torch.equal(get(cache, other), made(other))
    assert len(caught) == 1
    assert torch.equal(kept(cache, photo), made(photo))
    assert [path.name for path in cache.folder.rglob("*") if path.is_file()] == [cache.entry(photo).name]


def fill(folder: Path, photos: list[Path], start: Any) -> None:
    cache = ImageCache(folder, SIZE)
    start.wait(30)
    for path in photos:
        assert torch.equal(get(cache, path), made(path))


def test_two_processes_fill_one_folder_at_once(tmp_path: Path, write: Callable[..., Path]) -> None:
    photos = [write(tmp_path / f"{i}.jpg", size=(60, 40), seed=i) for i in range(40)]
    context = multiprocessing.get_context("fork")
    start = context.Barrier(2)
    both = [context.Process(target=fill, args=(tmp_path / "cache", photos, start)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
    assert [process.exitcode for process in both] == [0, 0]
    cache = ImageCache(tmp_path / "cache", SIZE)
    assert all(torch.equal(kept(cache, path), made(path)) for path in photos)
    assert sorted(path for path in cache.folder.rglob("*") if path.is_file()) == sorted(map(cache.entry, photos))


def test_the_default_folder_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert default_folder() == tmp_path / "home/.cache/segtricks/images"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert ImageCache(None, SIZE).folder == tmp_path / "xdg/segtricks/images"


def test_real_photographs_are_bit_equal_and_take_as_much_as_the_documentation_says(
    photographs: Path, tmp_path: Path
) -> None:
    cache = ImageCache(tmp_path, 335)
    paths = find_images(photographs / "ECSSD/images")[:12]
    for path in paths:
        expected = resize_short_side(read_image(path), 335)
        cache.get(path, lambda expected=expected: expected)  # type: ignore[misc]
        assert torch.equal(kept(cache, path), expected)
    mean = sum(cache.entry(path).stat().st_size for path in paths) / len(paths)
    assert mean == pytest.approx(470e3, rel=0.05)
