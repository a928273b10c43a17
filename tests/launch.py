"""Commands in processes of their own, forked from one that has imported everything: a start takes no seconds."""

import multiprocessing
import runpy
import time
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        "segtricks.commands.training",
        "segtricks.commands.score_run",
        "segtricks.commands.prediction",
        "segtricks.reports.figures",
        "matplotlib.backends.backend_agg",
        "torch.distributed",
    ]
)


def start(folder, words, environment=None, largest_file=None):
    """Start ``segtricks WORDS`` in ``folder``, with its output in ``folder/log``; bytes above the largest file fail."""
    given = {"words": [str(word) for word in words], "largest_file": largest_file}
    return start_script(folder, Path(__file__).with_name("child.py"), given, environment)


def start_script(folder, script, given, environment=None):
    """Start a script in ``folder``, with its output in ``folder/log`` and the names that it is given."""
    common = {"folder": str(folder), "environment": environment or {}}
    child = _CONTEXT.Process(target=runpy.run_path, args=(str(script), given | common))
    child.start()
    # Each start looks after all children that are known. From another thread that may take the exit status of one that
    # is being joined, which then reads 255.
    multiprocessing.process._children.discard(child)
    return child


def run(folder, words, status=0, **options):
    """Run ``segtricks WORDS``, which must end with ``status``; return what it has said so far in this folder."""
    return ended(folder, start(folder, words, **options), status)


def ended(folder, child, status=0):
    """Wait for the end of a child, which must have this status; return what was said so far in its folder."""
    child.join(120)
    said = (folder / "log").read_text()
    assert child.exitcode == status, said
    return said


def wait_for(condition, child, seconds=60):
    """Wait until something is so, while the child lives."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert child.is_alive() and time.monotonic() < deadline
        time.sleep(0.01)
