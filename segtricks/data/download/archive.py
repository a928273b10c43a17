"""The files of a published dataset: where they come from, how they are recognised, what room they need."""

import hashlib
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from tqdm import tqdm

from segtricks.errors import UserError

_PACKED = (".zip", ".tar", ".tar.gz", ".tgz")
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Archive:
    """One file to fetch: an archive that is unpacked, or a plain file that is kept as it is.

    Args:
        url: Where it is published.
        folder: Folder below the data root that it is unpacked into; empty for the root itself.
        size: Its bytes, where known.
        md5: Its checksum as lower-case hexadecimals, where known.
        sha256: The same; preferred to ``md5`` where both are known.
        nested: Whether archives within it are unpacked where they lie.
        leaves: What a dataset needs of it: files, or folders with so many files, below ``folder``. Where all of it
            lies there, another dataset has brought it, and it is not fetched.
        file: Its name, where the address does not end in it.
        account: Page to sign in at, where the address gives it to nobody else.
    """

    url: str
    folder: str = ""
    size: int | None = None
    md5: str | None = None
    sha256: str | None = None
    nested: bool = False
    leaves: tuple[tuple[str, int], ...] = ()
    file: str = ""
    account: str = ""

    @property
    def name(self) -> str:
        """File name, the last part of the address unless it is given."""
        return self.file or PurePosixPath(unquote(urlsplit(self.url).path)).name

    def is_unpacked(self, root: Path) -> bool:
        """Whether what it ``leaves`` lies below the data root."""
        counts = [(_count_files(root / self.folder / path), count) for path, count in self.leaves]
        return bool(counts) and all(found >= count for found, count in counts)

    @property
    def packed(self) -> bool:
        """Whether it is unpacked, by its name."""
        return self.name.lower().endswith(_PACKED)

    @property
    def checksum(self) -> tuple[str, str] | None:
        """Name of the function and hexadecimals of the published checksum, or None where none is known."""
        if self.sha256:
            return "sha256", self.sha256
        return ("md5", self.md5) if self.md5 else None

    def mismatch(self, path: Path) -> str | None:
        """Why the file at ``path`` is not this one, as half a sentence, or None where all that is known agrees."""
        size = path.stat().st_size
        if self.size is not None and size != self.size:
            return f"it has {size:,} bytes, {self.size:,} were published"
        if self.checksum is not None:
            function, published = self.checksum
            got = checksum_of(path, function)
            if got != published:
                return f"its {function} is {got}, {published} was published"
        elif self.packed and not (is_zip(path) or tarfile.is_tarfile(path)):
            # Servers answer with a web page, and status 200, for what they no longer have.
            with path.open("rb") as file:
                return f"it is neither zip nor tar, and begins with {file.read(24)!r}"
        return None


def _count_files(place: Path) -> int:
    return sum(path.is_file() for path in (place, *place.rglob("*")))


def checksum_of(path: Path, function: str = "sha256") -> str:
    """Checksum of a file as lower-case hexadecimals, by a function that :func:`hashlib.new` knows."""
    digest = hashlib.new(function, usedforsecurity=False)
    with path.open("rb") as file, bytes_bar(f"check {path.name}", path.stat().st_size) as bar:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            bar.update(len(chunk))
    return digest.hexdigest()


def bytes_bar(description: str, total: int | None, initial: int = 0) -> "tqdm[Any]":
    """A bar that counts bytes, on a terminal."""
    return tqdm(total=total, initial=initial, desc=description, unit="B", unit_scale=True, disable=None, leave=False)


def is_zip(path: Path) -> bool:
    """Whether a file begins as zip archives do: its end, where Python looks, may be that of a zip within a tar."""
    with path.open("rb") as file:
        return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")


def check_room(folder: Path, needed: int, what: str) -> None:
    """Raise a ``UserError`` where ``what`` needs more bytes than are free on the disk of ``folder``."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{what} needs {in_words(needed)}, but {in_words(free)} are free in {folder.resolve()}.\n"
            "Make room there, or pass --root DIR on another disk."
        )


def in_words(size: int) -> str:
    """Bytes for people: ``271.0 MB``, in powers of 1,000."""
    if size < 1000:
        return f"{size} bytes"
    amount = size / 1000
    for unit in ("kB", "MB"):
        if amount < 1000:
            return f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"
