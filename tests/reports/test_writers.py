import threading
import time

import pytest

from segtricks.reports.writers import Writers


def test_names_come_back_in_the_order_of_submission_whichever_job_ends_first():
    done, ended, first_may_end = [], [], threading.Event()

    def job(i):
        if i == 0:
            assert first_may_end.wait(10)
        ended.append(i)
        if i == 1:
            first_may_end.set()

    with Writers(done.append, threads=2) as writers:
        for i in range(6):
            writers.submit(str(i), job, i)
    assert done == [str(i) for i in range(6)]
    assert ended[0] == 1


def test_no_more_than_twice_as_many_jobs_as_threads_wait_or_run():
    gate, begun = threading.Event(), []

    def job(i):
        begun.append(i)
        assert gate.wait(10)

    with Writers(lambda name: None, threads=2) as writers:
        for i in range(3):
            writers.submit(str(i), job, i)
        fifth = threading.Thread(target=lambda: [writers.submit(str(i), job, i) for i in (3, 4)])
        fifth.start()
        fifth.join(0.2)
        assert fifth.is_alive(), "the fourth is queued, and the caller waits until one has ended"
        gate.set()
        fifth.join(10)
    assert sorted(begun) == list(range(5))


def test_the_error_of_a_job_is_raised_in_the_caller_and_what_has_not_begun_is_dropped():
    done, begun = [], []

    def job(i):
        begun.append(i)
        if i == 1:
            raise OSError(28, "No space left on device")
        time.sleep(0.01)

    with pytest.raises(OSError, match="No space left"), Writers(done.append, threads=1) as writers:
        for i in range(100):
            writers.submit(str(i), job, i)
    assert done == ["0"]
    assert len(begun) < 5


def test_an_error_of_the_caller_is_not_hidden_by_that_of_a_job():
    def fail():
        raise OSError("of the job")

    with pytest.raises(KeyError, match="of the caller"), Writers(lambda name: None) as writers:
        writers.submit("a", fail)
        raise KeyError("of the caller")
