"""Weights that were fetched or converted once: ``$XDG_CACHE_HOME/segtricks/weights/NAME.safetensors``.

A file is complete or not there, and its metadata say where the weights came from.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from segtricks.backbones.unavailable import Unavailable
from segtricks.errors import UserError
from segtricks.runs import replacing

if TYPE_CHECKING:
    from torch import nn

_log = logging.getLogger(__name__)


def weights_folder() -> Path:
    """``segtricks/weights`` in the user's folder of caches, by default ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "segtricks" / "weights"


def cached_weights(name: str) -> Path:
    """File of a backbone's weights, whether it is there or not."""
    return weights_folder() / f"{name}.safetensors"


def load_cached(model: "nn.Module", name: str) -> str:
    """Load a backbone's cached weights strictly and return where they came from.

    A file that is damaged or does not fit is removed, with a warning that names it.

    Raises:
        Unavailable: No such file, or not one that can be used.
    """
    from segtricks.backbones.weights import load_checkpoint

    path = cached_weights(name)
    try:
        before = path.stat()
        load_checkpoint(model, path, name)
        return _source(path)
    except OSError as error:
        raise Unavailable("empty" if isinstance(error, FileNotFoundError) else error.strerror or error) from error
    except UserError as error:
        if isinstance(error.__cause__, PermissionError):
            raise Unavailable("its file may not be read") from error
        _remove(path, before, name, str(error).splitlines()[0])
        raise Unavailable("its file was damaged") from error


def store(model: "nn.Module", name: str, source: str) -> bool:
    """Write a model's weights into the cache in one step; False, with a warning, where that is not possible.

    Args:
        model: Without a classification head.
        name: The backbone's name.
        source: Where its weights came from, as :func:`load_cached` will return it.
    """
    from safetensors.torch import save_file

    path = cached_weights(name)
    state = {key: value.contiguous() for key, value in model.state_dict().items()}
    try:
        with replacing(path) as temporary:
            save_file(state, temporary, metadata={"format": "pt", "source": source})
    except Exception as error:  # safetensors has an error class of its own for a full disk
        _log.warning("The weights of %s cannot be kept in %s: %s", name, path.parent, error)
        return False
    return True


@contextmanager
def hold_weights(name: str) -> Iterator[None]:
    """Hold a backbone's place in the cache, so that processes that start together fetch its weights once.

    Where the folder cannot be written to, nobody is waited for: nothing will be kept there.
    """
    try:
        weights_folder().mkdir(parents=True, exist_ok=True)
        # A singleton can be acquired again by the process that holds it.
        lock = FileLock(weights_folder() / f"{name}.lock", is_singleton=True)
        lock.acquire()
    except OSError:
        yield
        return
    try:
        for left in weights_folder().glob(f".{name}-????????.safetensors"):  # of a process that was killed
            left.unlink(missing_ok=True)
        yield
    finally:
        lock.release()


def _source(path: Path) -> str:
    from safetensors import safe_open

    with safe_open(path, "np") as file:
        metadata = file.metadata() or {}
    return metadata.get("source") or f"file {path.name} of the cache"


def _remove(path: Path, before: os.stat_result, name: str, reason: str) -> None:
    with hold_weights(name):
        # Another process may have put a good file there since this one was read.
        if not path.exists() or not os.path.samestat(before, path.stat()):
            return
        _log.warning("Removed %s from the cache, since it cannot be used: %s", path, reason)
        path.unlink()
