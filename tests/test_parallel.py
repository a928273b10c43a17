import threading
import time

import pytest
import torch

from segtricks.parallel import in_threads, place


def test_results_come_in_the_order_of_the_jobs_from_several_threads():
    both = threading.Barrier(2, timeout=10)  # passed only by two threads at once

    def work(job):
        both.wait()
        time.sleep(0.02 if job == 0 else 0)
        return job, torch.get_num_threads()

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert list(in_threads(work, [0, 1, 2, 3], 2, None)) == [(job, 1) for job in range(4)]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_an_error_of_a_job_is_raised_and_jobs_that_wait_are_dropped():
    begun = []

    def work(job):
        begun.append(job)
        if job == 1:
            raise ValueError("job 1")
        time.sleep(0.05)
        return job

    results = in_threads(work, range(50), 1, None)
    assert next(results) == 0
    with pytest.raises(ValueError, match="job 1"):
        next(results)
    assert len(begun) < 50


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, (0, 1)),
        ({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}, (3, 4)),  # torchrun
        ({"SLURM_PROCID": "2", "SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "4"}, (2, 4)),  # srun
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "4"}, (0, 1)),  # in a batch script, without srun
        ({"LOCAL_RANK": "1", "WORLD_SIZE": "2"}, (1, 2)),  # Lightning
    ],
)
def test_the_launchers_variables_are_understood(monkeypatch, given, expected):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert place() == expected
