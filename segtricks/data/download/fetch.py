"""A published dataset from nothing: fetch, check, unpack, and look whether all is there."""

import json
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from segtricks.data.download.archive import Archive, checksum_of, in_words
from segtricks.data.download.transfer import TransferFailed, check_address, remembered, transfer
from segtricks.data.download.unpack import unpack
from segtricks.data.sample import SegmentationDataset
from segtricks.errors import UserError
from segtricks.runs import replacing

DOWNLOADS = ".downloads"
"""Folder below the data root for what is not unpacked yet, and for ``checksums.json``."""

Kind = Any  # a class of ``segtricks.data.datasets.registry.PUBLISHED``


@dataclass(frozen=True)
class Found:
    """What is there of a dataset: number of its images, and whether its masks or boxes are there as well."""

    images: int
    annotated: bool

    def whole(self, kind: Kind) -> bool:
        """Whether that is all that was published."""
        return self.annotated and self.images == kind.expected


def look(kind: Kind, root: Path) -> Found:
    """Count the images of a dataset under ``root`` without opening masks or boxes."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the count is what is asked for here
            dataset: SegmentationDataset = kind(root, False)
    except UserError:
        return Found(0, False)
    # VOC and COCO have a folder of their own, with boxes in it; the others pair each image with a mask.
    folder = getattr(dataset, "folder", None)
    places = [] if folder is None else [folder / "Annotations", folder / "annotations"]
    annotated = dataset.masks is not None or any(place.is_dir() for place in places)
    return Found(sum(path.is_file() for path in dataset.images), annotated)


def download(name: str, kind: Kind, root: Path, urls: Sequence[str] = (), keep: bool = False) -> bool:
    """Get a dataset, unless it is there already; each step prints one line.

    All archives are fetched and checked before the first is unpacked, and are removed when all is in place: whatever
    stops this, the same call goes on from there. Two calls at once for the same dataset wait for each other.

    Args:
        name: Its registered name.
        kind: Its class.
        root: Folder that it is unpacked into; archives wait in its folder ``DOWNLOADS``, and are taken from there
            where they lie already.
        urls: Addresses instead of the published ones, in their order.
        keep: Leave the archives in ``DOWNLOADS``.

    Returns:
        False where all was there and nothing was done.

    Raises:
        UserError: An address does not give the file, a file is not the published one, an archive is not safe, the disk
            is full, or what came out is not the whole dataset.
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
    lock = FileLock(folder / f"{name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"{name}: another download of it into {root} is under way: waiting for it", flush=True)
        lock.acquire()
    try:
        if _is_whole(name, kind, root):
            return False
        _download(name, kind, root, urls or [archive.url for archive in kind.archives], keep)
    finally:
        lock.release()
    return True


def _is_whole(name: str, kind: Kind, root: Path) -> bool:
    found = look(kind, root)
    if found.images > kind.expected:
        raise UserError(
            f"{name}: {found.images:,} images under {root}, {kind.expected:,} were published: some do not belong there."
            f"\nNext: segtricks data verify {name} --root {root}"
        )
    return found.whole(kind)


def _download(name: str, kind: Kind, root: Path, urls: Sequence[str], keep: bool) -> None:
    files: list[Path] = []
    for archive, url in zip(kind.archives, urls, strict=True):
        try:
            files.append(_fetch(archive, url, root / DOWNLOADS, sum(file.stat().st_size for file in files)))
        except TransferFailed as error:
            which = f"an address for each of {_names(kind)}" if len(urls) > 1 else "another address"
            raise UserError(
                f"{error}\nNext: fetch {archive.name} by hand into {root / DOWNLOADS} and type the same command again, "
                f"or pass {which} as --url."
            ) from error
    for archive, file in zip(kind.archives, files, strict=True):
        place = root / archive.folder
        if archive.packed:
            print(f"{file.name}: {unpack(file, root, archive.folder):,} files unpacked into {place}", flush=True)
        else:
            with replacing(place / file.name) as temporary:
                shutil.copyfile(file, temporary)
            print(f"{file.name}: put into {place}", flush=True)
    _check_whole(name, kind, root)
    if not keep:
        for file in files:
            file.unlink()


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
        if wrong := archive.mismatch(part):
            part.unlink()
            remembered(part).unlink(missing_ok=True)
            raise TransferFailed(f"{url} is not the published file: {wrong}. It was removed.")
        part.replace(file)
        remembered(part).unlink(missing_ok=True)
    size = in_words(file.stat().st_size)
    if archive.checksum is None:
        _record(url, file, size)
    else:
        print(f"{file.name}: {size}, {archive.checksum[0]} as published", flush=True)
    return file


def _record(url: str, file: Path, size: str) -> None:
    """Note the checksum of a file that none is published for; a later one that differs is told."""
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
