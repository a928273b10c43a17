"""Zip and tar archives: nothing is written outside the folder, and no half of an archive is left behind."""

import gzip
import lzma
import shutil
import tarfile
import zipfile
import zlib
from pathlib import Path

from tqdm import tqdm

from segtricks.data.download.archive import check_room, is_zip
from segtricks.errors import UserError

_CHUNK = 1 << 20
_DAMAGED = (
    *(zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError),
    *(NotImplementedError, RuntimeError, UnicodeDecodeError),  # zip: unknown compression, password, damaged name
    *(FileExistsError, NotADirectoryError, IsADirectoryError),  # one name for a file and a folder
)


def unpack(path: Path, root: Path, folder: str = "", nested: bool = False) -> int:
    """Unpack a zip, tar or compressed tar file into ``root/folder``, and replace what has the same name there.

    Everything is unpacked into a hidden folder first and moved when it is complete; a process that was killed leaves
    at most that folder, which the next call removes. With ``nested``, a zip within it is unpacked where it lies.

    Returns:
        Number of files.

    Raises:
        UserError: The archive is damaged or not safe, the target lies behind a link, or the disk is full.
    """
    target = root / folder
    if folder and target.is_symlink():
        raise _linked(target)
    target.mkdir(parents=True, exist_ok=True)
    temporary = target / f".unpacking-{path.name}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        _extract(path, temporary)
        if nested:
            for inner in sorted(temporary.rglob("*.zip")):
                if not _is_of_macos(inner.relative_to(temporary)):
                    _extract(inner, inner.parent)
                    inner.unlink()
        _check_places(temporary, target)
        return _move(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _is_of_macos(path: Path) -> bool:
    """Whether it is what macOS adds to an archive about a file, under that file's name."""
    return "__MACOSX" in path.parts or path.name.startswith("._")


def _extract(path: Path, folder: Path) -> None:
    extract = _extract_zip if is_zip(path) else _extract_tar
    try:
        extract(path, folder)
    except tarfile.FilterError as error:
        raise UserError(
            f"{path} is not safe: {error}. Nothing was unpacked.\n"
            "Remove it, and fetch the published file from another address."
        ) from error
    except _DAMAGED as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(":.")
        raise UserError(f"{path} is damaged or not an archive: {reason}.\nRemove it and fetch it again.") from error


def _extract_zip(path: Path, folder: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        check_room(folder, sum(info.file_size for info in members), f"Unpacking {path.name}")
        for info in tqdm(members, f"unpack {path.name}", unit=" files", disable=None, leave=False):
            info.filename = info.filename.replace("\\", "/")  # of some archives from Windows
            archive.extract(info, folder)  # drops "..", and writes links as files


def _extract_tar(path: Path, folder: Path) -> None:
    what = f"Unpacking {path.name}"
    check_room(folder, path.stat().st_size, what)
    with tarfile.open(path) as archive:
        for info in tqdm(archive, f"unpack {path.name}", unit=" files", disable=None, leave=False):
            check_room(folder, info.size, what)  # how much there is in a compressed one turns out while it is read
            archive.extract(info, folder, filter=_plain)
        # A compressed one has its checksum at its end, which tar does not read.
        while archive.fileobj is not None and archive.fileobj.read(_CHUNK):
            pass


def _plain(info: tarfile.TarInfo, folder: str) -> tarfile.TarInfo:
    """Python's filter for data, without links, with the permissions of new files."""
    if not (info.isreg() or info.isdir()):
        raise tarfile.SpecialFileError(info)
    return tarfile.data_filter(info, folder).replace(mode=None)  # type: ignore[arg-type]  # None: leave it


def _check_places(source: Path, target: Path) -> None:
    """Look at every place before the first file is moved."""
    for entry in source.rglob("*"):
        place = target / entry.relative_to(source)
        if entry.is_dir() and place.is_symlink():
            raise _linked(place)
        if place.exists() and entry.is_dir() != place.is_dir():
            raise UserError(f"{place} is in the way: it is {'a folder' if place.is_dir() else 'a file'}. Remove it.")


def _move(source: Path, target: Path) -> int:
    files = 0
    for entry in sorted(source.rglob("*")):  # folders before what is in them
        place = target / entry.relative_to(source)
        if entry.is_dir():
            place.mkdir(exist_ok=True)
        else:
            entry.replace(place)
            files += 1
    return files


def _linked(place: Path) -> UserError:
    return UserError(
        f"{place} is a link, and nothing is unpacked through links.\n"
        "Next: pass the folder above the place that it leads to as --root, or remove the link."
    )
