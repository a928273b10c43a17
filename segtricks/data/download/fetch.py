"""A published dataset from nothing: fetch, check, unpack, and look whether all is there."""

import json
import shutil
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from filelock import AcquireReturnProxy, FileLock, Timeout

from segtricks.data.download.archive import Archive, checksum_of, in_words
from segtricks.data.download.transfer import TransferFailed, check_address, remembered, transfer
from segtricks.data.download.unpack import unpack
from segtricks.errors import UserError
from segtricks.runs import replacing

DOWNLOADS = ".downloads"
"""Folder below the data root for archives that are not unpacked yet, and for ``checksums.json``."""

Kind = Any  # a class of ``segtricks.data.datasets.registry.PUBLISHED``


class Present(NamedTuple):
    """Number of the images of a dataset that are there, and whether its masks or boxes are there as well."""

    images: int
    annotated: bool

    def whole(self, kind: Kind) -> bool:
        """Whether that is all that was published."""
        return self == (kind.expected, True)


def look(kind: Kind, root: Path) -> Present:
    """Count the images of a dataset under ``root`` without opening masks or boxes."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the count is what is asked for here
            dataset = kind(root, False)
    except UserError:
        return Present(0, False)
    return Present(sum(path.is_file() for path in dataset.images), dataset.annotated)


def download(name: str, kind: Kind, root: Path, urls: Sequence[str] = (), keep: bool = False) -> bool:
    """Get a dataset, unless it is there already; each step prints one line.

    All archives are fetched and checked before the first is unpacked, and are removed when all is in place: whatever
    stops this, the same call goes on from there. Two calls at once for the same dataset wait for each other. An archive
    whose files another dataset has brought is not fetched again.

    Args:
        name: Its registered name.
        kind: Its class.
        root: Folder that it is unpacked into; archives that lie in its folder ``DOWNLOADS`` are not fetched.
        urls: Addresses instead of the published ones, in their order.
        keep: Leave the archives in ``DOWNLOADS``.

    Returns:
        False where all was there and nothing was done.
    """
    if _is_whole(name, kind, root):
        return False
    if urls and len(urls) != len(kind.archives):
        raise UserError(
            f"{name} consists of {_names(kind)}: pass {len(kind.archives)} addresses after --url, in order."
        )
    for url in urls:
        check_address(url)
    folder = root / DOWNLOADS
    folder.mkdir(parents=True, exist_ok=True)
    with _acquire(FileLock(folder / f"{name}.lock"), f"another download of {name} into {root}"):
        if _is_whole(name, kind, root):
            return False
        wanted = dict(zip(kind.archives, urls or [archive.url for archive in kind.archives], strict=True))
        for archive in kind.archives:
            if archive.is_unpacked(root):
                print(f"{archive.name}: its files are in {root / archive.folder} already", flush=True)
                del wanted[archive]
        _check_accounts(name, wanted, root)
        files = _fetch_all(kind, folder, wanted)
        for archive, file in files.items():
            _put(archive, file, root)
        _check_whole(name, kind, root)
        if not keep:
            for file in files.values():
                file.unlink()
    return True


def _acquire(lock: FileLock, holder: str) -> AcquireReturnProxy:
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        print(f"waiting for {holder}", flush=True)
        return lock.acquire()


def _is_whole(name: str, kind: Kind, root: Path) -> bool:
    found = look(kind, root)
    if found.images > kind.expected:
        raise UserError(
            f"{name}: {found.images:,} images under {root}, {kind.expected:,} were published: some do not belong there."
            f"\nNext: segtricks data verify {name} --root {root}"
        )
    return found.whole(kind)


def _check_accounts(name: str, wanted: Mapping[Archive, str], root: Path) -> None:
    """Raise a ``UserError`` that says what to fetch by hand, where addresses ask for an account."""
    folder = root / DOWNLOADS
    closed = [archive for archive, url in wanted.items() if archive.account and url == archive.url]
    missing = [archive for archive in closed if not (folder / archive.name).is_file()]
    if missing:
        pages = "".join(f"\n  {archive.name} from {archive.url}" for archive in missing)
        raise UserError(
            f"{name} needs an account: {missing[0].account}\n"
            f"Next: sign in there, fetch by hand into {folder}{pages}\nand type the same command again."
        )


def _fetch_all(kind: Kind, folder: Path, wanted: Mapping[Archive, str]) -> dict[Archive, Path]:
    files: dict[Archive, Path] = {}
    for archive, url in wanted.items():
        try:
            files[archive] = _fetch(archive, url, folder, sum(file.stat().st_size for file in files.values()))
        except TransferFailed as error:
            which = f"an address for each of {_names(kind)}" if len(kind.archives) > 1 else "another address"
            raise UserError(
                f"{error}\nNext: fetch {archive.name} by hand into {folder} and type the same command again, "
                f"or pass {which} as --url."
            ) from error
    return files


def _put(archive: Archive, file: Path, root: Path) -> None:
    place = root / archive.folder
    if archive.packed:
        count = unpack(file, root, archive.folder, archive.nested)
        print(f"{file.name}: {count:,} files unpacked into {place}", flush=True)
    else:
        with replacing(place / file.name) as temporary:
            shutil.copyfile(file, temporary)
        print(f"{file.name}: put into {place}", flush=True)


def _check_whole(name: str, kind: Kind, root: Path) -> None:
    found = look(kind, root)
    wrong = "" if found.whole(kind) else f"{found.images:,} of {kind.expected:,} images are there"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            kind(root)  # opens masks or boxes as well
    except UserError as error:
        wrong = str(error).splitlines()[0]
    if wrong:
        raise UserError(
            f"{name} is not whole after unpacking {_names(kind)}: {wrong}\n"
            f"Next: segtricks data verify {name} --root {root}, or remove {root / DOWNLOADS} and download it again."
        )


def _fetch(archive: Archive, url: str, folder: Path, unpacked: int) -> Path:
    """The finished archive in ``folder``, checked: the one that lies there, or a new one."""
    file, part = folder / archive.name, folder / f"{archive.name}.part"
    if file.is_file():
        print(f"{file.name}: taken from {folder}", flush=True)
        if wrong := archive.mismatch(file):
            raise UserError(f"{file} is not the published file: {wrong}.\nRemove it and type the same command again.")
    else:
        print(f"{file.name}: from {url}", flush=True)
        transfer(url, part, archive.size, unpacked)
        wrong = archive.mismatch(part)
        if wrong:
            part.unlink()
        else:
            part.replace(file)
        remembered(part).unlink(missing_ok=True)
        if wrong:
            raise TransferFailed(f"{url} is not the published file: {wrong}. It was removed.")
    size = in_words(file.stat().st_size)
    if archive.checksum is None:
        _record(url, file, size)
    else:
        print(f"{file.name}: {size}, {archive.checksum[0]} as published", flush=True)
    return file


def _record(url: str, file: Path, size: str) -> None:
    """Note the checksum of a file that none is published for, and warn where it was another one before."""
    notes, got = file.parent / "checksums.json", checksum_of(file)
    with FileLock(file.parent / "checksums.lock"):
        seen = json.loads(notes.read_text()) if notes.is_file() else {}
        if seen.get(url, got) != got:
            warnings.warn(f"{url} is another file than before: sha256 {got}, it was {seen[url]}.", stacklevel=2)
        with replacing(notes) as temporary:
            temporary.write_text(json.dumps({**seen, url: got}, indent=2) + "\n")
    plain = " and the address is plain http" if url.startswith("http:") else ""
    print(f"{file.name}: {size}; no checksum is published{plain}: its sha256 {got} is noted in {notes}", flush=True)


def _names(kind: Kind) -> str:
    return ", ".join(archive.name for archive in kind.archives)
