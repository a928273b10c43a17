"""Training photographs on disk at the size they are trained at, so that no later epoch decodes and resizes them."""

import hashlib
import os
import stat
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL
import torch
from torch import Tensor

from segtricks.runs import replacing

_FORMAT = 1  # to be raised with any change of what an entry holds


class ImageCache:
    """Photographs with their short side at ``size`` pixels: ``get`` is uint8 (3, h, w), read from disk or made.

    One ``.npy`` file for each photograph, named by a hash of the photograph's content, the size, and the versions of
    what decodes and resizes. So a changed photograph gets another entry, and any number of runs and processes may share
    a folder. Nothing is ever deleted; the folder may be, at any time between runs.

    Damaged entries are made again. Where nothing can be written, one warning is given and images are made each time.

    Args:
        folder: Of the entries; None is ``$XDG_CACHE_HOME/segtricks/images``, by default below ``~/.cache``.
        size: Short side in pixels.
        white: Gray value of white in photographs of 16 bits.
    """

    def __init__(self, folder: str | Path | None, size: int, white: int = 65535) -> None:
        self.folder = default_folder() if folder is None else Path(folder).expanduser()
        self.size = size
        depth = "" if white == 65535 else f" white {white}"
        self._settings = f"{_FORMAT} {size} Pillow {PIL.__version__} torch {torch.__version__}{depth}".encode()
        self._keys: dict[tuple[str, int, int], str] = {}
        self._writable = True
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            self._stop_writing(error)

    def get(self, path: Path, make: Callable[[], Tensor]) -> Tensor:
        """The photograph at ``path``, which ``make`` gives without the cache; without a file nothing is kept."""
        try:
            entry = self.entry(path)
        except OSError:
            return make()
        found = self._load(entry)
        if found is not None:
            return found
        image = make().contiguous()
        self._store(entry, image)
        return image

    def entry(self, path: Path) -> Path:
        """Where the photograph is kept, or will be. The file is read once, until its size or time changes."""
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise OSError(f"{path} is not a file")  # reading a pipe would wait for ever
        known = (str(path), status.st_size, status.st_mtime_ns)
        if known not in self._keys:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, lambda: hashlib.blake2b(self._settings, digest_size=20))
            self._keys[known] = digest.hexdigest()
        key = self._keys[known]
        return self.folder / key[:2] / f"{key[2:]}.npy"

    def _load(self, entry: Path) -> Tensor | None:
        try:
            # Read as a whole: a crop needs nearly all rows, and mapping them costs more than reading them.
            array = np.load(entry)
        except Exception:  # missing, or damaged in one of many ways
            return None
        sound = array.dtype == np.uint8 and array.ndim == 3 and array.shape[0] == 3 and min(array.shape) > 0
        return torch.from_numpy(array) if sound and min(array.shape[1:]) == self.size else None

    def _store(self, entry: Path, image: Tensor) -> None:
        if not self._writable:
            return
        try:
            with replacing(entry, durable=False) as temporary:  # what is damaged is made again
                np.save(temporary, image.numpy())
        except OSError as error:
            self._stop_writing(error)

    def _stop_writing(self, error: OSError) -> None:
        self._writable = False
        warnings.warn(f"The image cache {self.folder} cannot be written to, so it is not: {error}", stacklevel=3)


def default_folder() -> Path:
    """``segtricks/images`` in the user's folder of caches."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "segtricks" / "images"
