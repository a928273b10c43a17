"""Work on many files at once, in threads, with a bar."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from tqdm import tqdm

Job = TypeVar("Job")
Result = TypeVar("Result")


def in_threads(work: Callable[[Job], Result], jobs: Sequence[Job], workers: int, bar: str | None) -> Iterator[Result]:
    """Yield the results in the order of the jobs; ``bar`` is the title of a progress bar, shown on a terminal.

    Each thread keeps torch from starting threads of its own. An exception of a job is raised here, and jobs that have
    not started are dropped.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    pool = ThreadPoolExecutor(workers)
    try:
        progress = tqdm(pool.map(work, jobs), total=len(jobs), desc=bar, disable=None if bar else True, leave=False)
        yield from progress
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        torch.set_num_threads(before)
