"""Pictures on disk, and threads that write them while the caller computes."""

import os
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segtricks.runs import replacing

PNG_LEVEL = 4
"""Of zlib: on soft masks a tenth larger than its own 6, in well under half the time."""


class Writers:
    """A few threads for jobs that release the interpreter, such as encoding and writing of pictures.

    As a context: at its end all jobs are done, unless it ends with an error; then those that have not started are
    dropped. An error of a job is raised in the caller, by a later :meth:`submit` or at the end. No more than twice as
    many jobs as threads wait or run; :meth:`submit` waits while they do.

    Args:
        done: called in the caller's thread with the name of each job that has ended well, in the order of submission.
        threads: None is 4, or the number of processors where that is less.
    """

    def __init__(self, done: Callable[[str], None], threads: int | None = None) -> None:
        self.seconds = 0.0
        """From the beginning of the context to its end."""
        self._done, self._threads = done, threads or min(4, os.cpu_count() or 1)
        self._waiting: deque[tuple[str, Future[None]]] = deque()

    def __enter__(self) -> Self:
        """Start."""
        self._started = time.perf_counter()
        self._pool = ThreadPoolExecutor(self._threads, "writer")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Wait for what is under way."""
        try:
            if error is None:
                self._take(0)
        finally:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._waiting.clear()
            self.seconds = time.perf_counter() - self._started

    def submit(self, name: str, job: Callable[..., None], *arguments: Any) -> None:
        """Let a thread call ``job`` with the arguments."""
        self._waiting.append((name, self._pool.submit(job, *arguments)))
        self._take(2 * self._threads - 1)

    def _take(self, most: int) -> None:
        while len(self._waiting) > most:
            name, future = self._waiting.popleft()
            future.result()
            self._done(name)


def write_png(path: Path, picture: NDArray[np.uint8]) -> None:
    """Write a gray picture (H, W), in one step."""
    with replacing(path) as temporary:
        Image.fromarray(picture).save(temporary, compress_level=PNG_LEVEL)
