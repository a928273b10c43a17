"""One vector for each mask of a photograph, kept on disk."""

import hashlib
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segtricks.data.label_entry import Entry
from segtricks.runs import replacing


def write_vectors(output: Path, name: str, entry: Entry, vectors: NDArray[np.float32]) -> None:
    """Write the vectors (n, D) of the entry's masks to ``features/NAME.npz``, in one step."""
    with replacing(_file(output, name)) as temporary, temporary.open("wb") as file:
        np.savez(file, vectors=vectors, masks=_digest(entry))


def read_vectors(output: Path, name: str, entry: Entry) -> NDArray[np.float32] | None:
    """Return the vectors (n, D); None where there are none, they are damaged, or they are of other masks."""
    try:
        with np.load(_file(output, name)) as file:
            vectors: NDArray[np.float32] = file["vectors"]
            return vectors if file["masks"] == _digest(entry) else None
    except (OSError, LookupError, ValueError, EOFError, zipfile.BadZipFile):
        return None


def discard_vectors(output: Path, names: Iterable[str]) -> None:
    """Remove the vectors of these entries, so that none of other settings stays behind."""
    for name in names:
        _file(output, name).unlink(missing_ok=True)


def _file(output: Path, name: str) -> Path:
    return output / "features" / f"{name}.npz"


def _digest(entry: Entry) -> str:
    codes = " ".join(mask.rle for mask in entry.masks)
    return hashlib.sha256(f"{entry.height} {entry.width} {codes}".encode()).hexdigest()
