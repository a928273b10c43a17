"""Zip and tar archives from strangers: nothing is written outside the folder, and no half of one is left behind."""

import gzip
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import IO

from tqdm import tqdm

from segtricks.data.download.archive import check_room, is_zip
from segtricks.errors import UserError

_CHUNK = 1 << 20
_DAMAGED = (
    *(zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError),
    *(NotImplementedError, RuntimeError, UnicodeDecodeError),  # zip: unknown compression, password, damaged name
    *(FileExistsError, NotADirectoryError, IsADirectoryError),  # one name for a file and a folder
)


@dataclass(frozen=True)
class _Member:
    """One entry: ``size`` as its header states it; ``open`` gives its contents, None for a folder."""

    name: str
    size: int
    open: Callable[[], IO[bytes] | None]


def unpack(path: Path, root: Path, folder: str = "") -> int:
    """Unpack an archive into ``root/folder``, where other files may lie already.

    Only plain files and folders come out, with the permissions of new files; what is there under the same name is
    replaced. Everything is unpacked into a hidden folder within the target first and moved into place at the end; a
    stopped unpacking leaves at most that folder, which the next one removes. A zip within a ``.zip.zip`` is unpacked
    where it lies.

    Args:
        path: Zip, tar, or compressed tar file.
        root: Folder that may be a link itself.
        folder: Folder below it.

    Returns:
        Number of files.

    Raises:
        UserError: The archive is damaged or holds more than its headers state; an entry is a link or a device, or its
            name leaves the folder; the target lies behind a link; or the disk has no room for the contents.
    """
    target = root / folder
    _refuse_links(root, target)
    target.mkdir(parents=True, exist_ok=True)
    temporary = target / f".unpacking-{path.name}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        _extract(path, temporary)
        if path.name.lower().endswith(".zip.zip"):
            for inner in sorted(temporary.rglob("*.zip")):
                _extract(inner, inner.parent)
                inner.unlink()
        count = sum(entry.is_file() for entry in temporary.rglob("*"))
        _check_places(temporary, target)
        _move(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return count


def _extract(path: Path, folder: Path) -> None:
    try:
        if is_zip(path):
            with zipfile.ZipFile(path) as archive:
                total = sum(info.file_size for info in archive.infolist())
                _write(path, folder, total, _of_zip(path, archive))
        else:
            with tarfile.open(path) as archive:
                # Plain tar is as long as its contents; a compressed one tells its size only while it is read.
                _write(path, folder, path.stat().st_size, _of_tar(path, archive))
                # A compressed one has its checksum at its end, where tar has no need to read.
                while archive.fileobj is not None and archive.fileobj.read(_CHUNK):
                    pass
    except _DAMAGED as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(":.")
        raise UserError(f"{path} is damaged or no archive: {reason}.\nRemove it and fetch it again.") from error


def _write(path: Path, folder: Path, total: int, members: Iterator[_Member]) -> None:
    check_room(folder, total, f"Unpacking {path.name}")
    stated = 0
    bar = tqdm(total=total, desc=f"unpack {path.name}", unit="B", unit_scale=True, disable=None, leave=False)
    with bar:
        for member in members:
            place = folder / _relative(path, member.name)
            source = member.open()
            if source is None:
                place.mkdir(parents=True, exist_ok=True)
                continue
            stated += member.size
            if stated > total:
                check_room(folder, member.size, f"Unpacking {path.name}")
            place.parent.mkdir(parents=True, exist_ok=True)
            with source, place.open("wb") as file:
                while chunk := source.read(_CHUNK):
                    file.write(chunk)
                    bar.update(len(chunk))
                # Both readers stop at the stated size; a zip that goes on then fails its checksum.
                if file.tell() != member.size:
                    raise EOFError(f"{member.name} has {file.tell():,} bytes, its header states {member.size:,}")


def _of_zip(path: Path, archive: zipfile.ZipFile) -> Iterator[_Member]:
    for info in archive.infolist():
        mode = info.external_attr >> 16  # 0 where the archive was not made on Unix
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _refusal(path, info.filename, "is a link or a device")
        yield _Member(info.filename, info.file_size, partial(_open_in_zip, archive, info))


def _open_in_zip(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> IO[bytes] | None:
    return None if info.is_dir() else archive.open(info)


def _of_tar(path: Path, archive: tarfile.TarFile) -> Iterator[_Member]:
    for info in archive:
        if not (info.isreg() or info.isdir()):
            raise _refusal(path, info.name, "is a link or a device")
        yield _Member(info.name, info.size, partial(archive.extractfile, info))


def _relative(path: Path, name: str) -> Path:
    # Windows' rules are the stricter ones: both slashes separate, and a drive makes a name absolute.
    pure = PureWindowsPath(name)
    if pure.anchor or ".." in pure.parts or "\0" in name:
        raise _refusal(path, name, "leaves the folder")
    return Path(*pure.parts)


def _refusal(path: Path, name: str, why: str) -> UserError:
    return UserError(
        f"{path} is not safe: its entry {name!r} {why}. Nothing was unpacked.\n"
        "Remove it, and fetch the published file from another address."
    )


def _refuse_links(root: Path, target: Path) -> None:
    for place in (target, *target.parents):
        if place == root:
            return
        if place.is_symlink():
            raise _linked(place)


def _linked(place: Path) -> UserError:
    return UserError(
        f"{place} is a link, and nothing is unpacked through links.\n"
        "Next: pass the folder above the place that it leads to as --root, or remove the link."
    )


def _check_places(source: Path, target: Path) -> None:
    """Look at every place before the first file is moved."""
    for entry in source.iterdir():
        place = target / entry.name
        if entry.is_dir():
            if place.is_symlink():
                raise _linked(place)
            if place.is_dir():
                _check_places(entry, place)
                continue
        if place.exists() and entry.is_dir() != place.is_dir():
            raise UserError(f"{place} is in the way: it is {'a folder' if place.is_dir() else 'a file'}. Remove it.")


def _move(source: Path, target: Path) -> None:
    for entry in sorted(source.iterdir()):
        place = target / entry.name
        if not (entry.is_dir() and place.is_dir()):
            try:
                entry.replace(place)
                continue
            except OSError:
                if not (entry.is_dir() and place.is_dir()):  # else another download has just made that folder
                    raise
        _move(entry, place)
