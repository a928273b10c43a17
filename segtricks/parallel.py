"""Several at once: threads with a bar, and which of several processes this one is."""

import logging
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stdout
from typing import TypeVar

from tqdm import tqdm

Job = TypeVar("Job")
Result = TypeVar("Result")

# torchrun; srun, whose count of tasks is not set in a batch script itself; Lightning's own launcher.
_PLACES = (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"), ("LOCAL_RANK", "WORLD_SIZE"))


def in_threads(work: Callable[[Job], Result], jobs: Sequence[Job], workers: int, bar: str | None) -> Iterator[Result]:
    """Yield the results in the order of the jobs; ``bar`` is the title of a progress bar, shown on a terminal.

    Each thread keeps torch from starting threads of its own. An exception of a job is raised here, and jobs that have
    not started are dropped.
    """
    import torch  # it takes seconds, and place() does without

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    pool = ThreadPoolExecutor(workers)
    try:
        progress = tqdm(pool.map(work, jobs), total=len(jobs), desc=bar, disable=None if bar else True, leave=False)
        yield from progress
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        torch.set_num_threads(before)


def place() -> tuple[int, int]:
    """Return the rank of this process and their number, as its launcher says; (0, 1) without one."""
    for rank, world in _PLACES:
        if rank in os.environ and world in os.environ:
            return int(os.environ[rank]), int(os.environ[world])
    return 0, 1


def processors() -> int:
    """Reading processes where none are asked for: 4, or the number of processors where that is less."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(4, usable or 1)


@contextmanager
def one_voice() -> Iterator[None]:
    """Let only the first of several processes print and warn."""
    if place()[0] == 0:
        yield
        return
    logger = logging.getLogger("segtricks")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
