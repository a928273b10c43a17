import contextlib
import io
import os
import shutil
import stat
import struct
import tarfile
import zipfile
from collections import namedtuple
from pathlib import Path

import pytest

from segtricks.data.download import unpack as module
from segtricks.data.download.unpack import unpack
from segtricks.errors import UserError

Usage = namedtuple("Usage", "total used free")
FILES = {"set/images/a.jpg": b"photo", "set/masks/a.png": b"mask" * 1000, "readme.txt": b""}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def _zip(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return path


def _tar(path: Path, files: dict[str, bytes], *more: tarfile.TarInfo, mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for info in more:
            archive.addfile(info)
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def _link(name: str, kind: bytes, leads_to: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, leads_to
    return info


def _there(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def _nothing_came(tmp_path: Path, *names: str) -> None:
    """Nothing lies in or next to the root but the archive and what the test put there."""
    found = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")}
    assert found == {"root", *names}


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tgz"])
def test_files_come_out_as_they_went_in(tmp_path: Path, root: Path, name: str) -> None:
    make = _zip if name.endswith("zip") else lambda path, files: _tar(path, files, mode="w:gz" if "gz" in name else "w")
    assert unpack(make(tmp_path / name, FILES), root, "there") == 3
    assert _there(root) == {f"there/{name}": content for name, content in FILES.items()}


def test_the_contents_tell_zip_from_tar(tmp_path: Path, root: Path) -> None:
    inner = _zip(tmp_path / "b.zip", FILES)
    path = _tar(tmp_path / "a.zip", {"b.zip": inner.read_bytes()})  # its end is that of a zip file
    assert unpack(path, root) == 1
    assert _there(root) == {"b.zip": inner.read_bytes()}


def test_a_nested_zip_is_unpacked_where_it_lies(tmp_path: Path, root: Path) -> None:
    inner = _zip(tmp_path / "b.zip", FILES)
    outer = _zip(tmp_path / "a.zip.zip", {"gt/b.zip": inner.read_bytes(), "gt/more.txt": b"more"})
    assert unpack(outer, root, nested=True) == 4
    assert _there(root) == {f"gt/{name}": content for name, content in FILES.items()} | {"gt/more.txt": b"more"}


@pytest.mark.parametrize("name", ["__MACOSX/gt/._b.zip", "gt/._b.zip", "__MACOSX/gt/b.zip"])
def test_what_macos_adds_about_a_nested_zip_is_not_unpacked(tmp_path: Path, root: Path, name: str) -> None:
    inner = _zip(tmp_path / "b.zip", FILES)
    about = b"\x00\x05\x16\x07about"
    unpack(_zip(tmp_path / "a.zip", {"gt/b.zip": inner.read_bytes(), name: about}), root, nested=True)
    assert _there(root) == {f"gt/{file}": content for file, content in FILES.items()} | {name: about}


def test_backslashes_separate_folders(tmp_path: Path, root: Path) -> None:
    unpack(_zip(tmp_path / "a.zip", {"images\\a.jpg": b"photo", "./masks//a.png": b"mask"}), root)
    assert _there(root) == {"images/a.jpg": b"photo", "masks/a.png": b"mask"}


def test_files_join_those_that_are_there_and_replace_the_same_names(tmp_path: Path, root: Path) -> None:
    (root / "set/images").mkdir(parents=True)
    (root / "set/images/a.jpg").write_bytes(b"half a pho")
    (root / "set/images/mine.jpg").write_bytes(b"mine")
    unpack(_zip(tmp_path / "a.zip", FILES), root)
    assert _there(root) == {**FILES, "set/images/mine.jpg": b"mine"}


def test_permissions_of_the_archive_are_not_taken_over(tmp_path: Path, root: Path) -> None:
    info = tarfile.TarInfo("a.sh")
    info.mode = 0o6777
    unpack(_tar(tmp_path / "a.tar", {}, info), root)
    (root / "new").touch()
    assert (root / "a.sh").stat().st_mode == (root / "new").stat().st_mode


NAMES = ["../x", "a/../../x", "/x", "//host/share/x", "..\\x", "C:\\x", "a/..", "/"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("make", [_zip, _tar])
def test_names_that_leave_the_folder_write_nothing_outside(tmp_path: Path, root: Path, make, name: str) -> None:  # type: ignore[no-untyped-def]
    path = make(tmp_path / "a", {"good.txt": b"good", name: b"bad"})
    with contextlib.suppress(UserError):
        unpack(path, root)
    assert {path.name for path in tmp_path.iterdir()} == {"root", "a"}
    assert not Path("/x").exists()


@pytest.mark.parametrize("name", ["../x", "a/../../x"])
def test_a_tar_that_leaves_the_folder_is_refused(tmp_path: Path, root: Path, name: str) -> None:
    path = _tar(tmp_path / "a.tar", {"good.txt": b"good", name: b"bad"})
    with pytest.raises(UserError, match=r"is not safe: .*outside the destination\. Nothing was unpacked\."):
        unpack(path, root)
    _nothing_came(tmp_path, "a.tar")


HOSTILE = {
    "symbolic link": [_link("out", tarfile.SYMTYPE, "../..")],
    "file through a link": [_link("out", tarfile.SYMTYPE, ".."), _link("out/x", tarfile.REGTYPE)],
    "link within": [_link("b.jpg", tarfile.SYMTYPE, "good.txt")],
    "hard link": [_link("b.jpg", tarfile.LNKTYPE, "/etc/passwd")],
    "device": [_link("null", tarfile.CHRTYPE)],
    "disk": [_link("disk", tarfile.BLKTYPE)],
    "pipe": [_link("pipe", tarfile.FIFOTYPE)],
}


@pytest.mark.parametrize("members", HOSTILE.values(), ids=HOSTILE)
def test_links_and_devices_of_a_tar_are_refused(tmp_path: Path, root: Path, members: list[tarfile.TarInfo]) -> None:
    path = _tar(tmp_path / "a.tar", {"good.txt": b"good"}, *members)
    with pytest.raises(UserError, match=r"is not safe: .*is a special file\. Nothing was unpacked"):
        unpack(path, root)
    _nothing_came(tmp_path, "a.tar")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_links_and_devices_of_a_zip_come_out_as_plain_files(tmp_path: Path, root: Path, kind: int) -> None:
    info = zipfile.ZipInfo("out")
    info.external_attr = (kind | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, "..")
    unpack(tmp_path / "a.zip", root)
    assert stat.S_ISREG((root / "out").lstat().st_mode)
    assert _there(root) == {"out": b".."}


@pytest.mark.parametrize("place", ["there", "there/set", "there/set/images"])
def test_a_link_that_lies_in_the_target_is_not_followed(tmp_path: Path, root: Path, place: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (root / place).parent.mkdir(parents=True, exist_ok=True)
    (root / place).symlink_to(outside)
    with pytest.raises(UserError, match=rf"{place} is a link, and nothing is unpacked through links"):
        unpack(_zip(tmp_path / "a.zip", FILES), root, "there")
    assert _there(outside) == {}
    assert _there(root) == {}


def test_a_file_that_is_a_link_is_replaced_and_what_it_leads_to_stays(tmp_path: Path, root: Path) -> None:
    (tmp_path / "mine.jpg").write_bytes(b"mine")
    (root / "set/images").mkdir(parents=True)
    (root / "set/images/a.jpg").symlink_to(tmp_path / "mine.jpg")
    unpack(_zip(tmp_path / "a.zip", FILES), root)
    assert (tmp_path / "mine.jpg").read_bytes() == b"mine"
    assert _there(root) == FILES
    assert not (root / "set/images/a.jpg").is_symlink()


def test_the_root_itself_may_be_a_link(tmp_path: Path, root: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    unpack(_zip(tmp_path / "a.zip", FILES), tmp_path / "link", "there")
    assert _there(root / "there") == FILES


def test_a_file_where_a_folder_belongs_is_named_before_anything_moves(tmp_path: Path, root: Path) -> None:
    (root / "set").mkdir()
    (root / "set/masks").write_bytes(b"mine")
    with pytest.raises(UserError, match=r"set/masks is in the way: it is a file\. Remove it\."):
        unpack(_zip(tmp_path / "a.zip", FILES), root)
    assert _there(root) == {"set/masks": b"mine"}


def _lie(path: Path, stated: int) -> Path:
    """State another unpacked size in both headers of a zip with one file."""
    content = bytearray(path.read_bytes())
    central = content.index(b"PK\x01\x02")
    content[22:26] = content[central + 24 : central + 28] = struct.pack("<I", stated)
    path.write_bytes(content)
    return path


def test_a_zip_that_lies_about_its_size_is_stopped(tmp_path: Path, root: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    stated = 1000
    path = _lie(_zip(tmp_path / "a.zip", {"bomb": bytes(10_000_000)}), stated)
    largest = 0
    remove = shutil.rmtree

    def measure(folder: Path, **options: bool) -> None:
        nonlocal largest
        largest = max([largest, *(file.stat().st_size for file in folder.rglob("*"))])
        remove(folder, **options)

    monkeypatch.setattr(shutil, "rmtree", measure)
    with pytest.raises(UserError, match="is damaged or not an archive"):
        unpack(path, root)
    assert largest <= stated
    _nothing_came(tmp_path, "a.zip")


def test_more_than_the_free_disk_is_refused_by_what_the_headers_state(tmp_path: Path, root: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    path = _zip(tmp_path / "a.zip", {"bomb": bytes(10_000_000)})
    assert path.stat().st_size < 20_000
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, 9_999_999))
    with pytest.raises(UserError, match=r"Unpacking a\.zip needs 10\.0 MB, but 10\.0 MB are free"):
        unpack(path, root)
    _nothing_came(tmp_path, "a.zip")


def test_a_compressed_tar_is_stopped_at_the_file_that_has_no_room(tmp_path: Path, root: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    path = _tar(tmp_path / "a.tar.gz", {"bomb": bytes(10_000_000)}, mode="w:gz")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, 1_000_000))
    with pytest.raises(UserError, match=r"Unpacking a\.tar\.gz needs 10\.0 MB"):
        unpack(path, root)
    _nothing_came(tmp_path, "a.tar.gz")


def _damaged(path: Path) -> Path:
    content = bytearray(path.read_bytes())
    content[200] ^= 255
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    "make",
    [
        lambda path: _damaged(_zip(path, {"a": os.urandom(1000)})),
        lambda path: path.write_bytes(_zip(path, FILES).read_bytes()[:-30]) and path,
        lambda path: path.write_bytes(_tar(path, {"a": bytes(20_000)}).read_bytes()[:15_000]) and path,
        lambda path: _damaged(_tar(path, {"a": os.urandom(1000)}, mode="w:gz")),
        lambda path: path.write_bytes(b"<html>moved</html>") and path,
        lambda path: _zip(path, {"a": b"file", "a/b": b"in a folder"}),
    ],
    ids=["zip, a bit", "zip, cut", "tar, cut", "tar.gz, a byte", "web page", "one name for two"],
)
def test_damage_is_named_and_leaves_nothing(tmp_path: Path, root: Path, make) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError, match=r"a\.zip is damaged or not an archive: .*\nRemove it and fetch it again\."):
        unpack(make(tmp_path / "a.zip"), root)
    _nothing_came(tmp_path, "a.zip")


@pytest.mark.parametrize("stop", ["_extract", "_check_places"])
def test_a_stopped_unpacking_leaves_nothing_and_a_killed_one_is_cleared(tmp_path: Path, root: Path, stop: str) -> None:
    path = _zip(tmp_path / "a.zip", FILES)
    with pytest.MonkeyPatch.context() as patch:

        def interrupt(*words: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(module, stop, interrupt)
        with pytest.raises(KeyboardInterrupt):
            unpack(path, root)
        _nothing_came(tmp_path, "a.zip")
    left = root / ".unpacking-a.zip/set/images/of_a_killed_one.jpg"
    left.parent.mkdir(parents=True)
    left.touch()
    unpack(path, root)
    assert _there(root) == FILES


def test_a_folder_that_another_download_makes_meanwhile_is_joined(tmp_path: Path, root: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    def check(source: Path, target: Path) -> None:
        (target / "set/images").mkdir(parents=True)
        (target / "set/images/b.jpg").write_bytes(b"other")

    monkeypatch.setattr(module, "_check_places", check)
    unpack(_zip(tmp_path / "a.zip", FILES), root)
    assert _there(root) == {**FILES, "set/images/b.jpg": b"other"}
