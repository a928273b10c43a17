"""Stages of a long command, in processes of their own."""

import os
import signal
import sys
import threading
import time

import pytest

from segtricks.commands import stages
from segtricks.errors import Stopped, UserError
from segtricks.runs import RUNS

CHILD = """
import pathlib, signal, sys, time
def leave(number, frame):
    time.sleep(0.5)
    pathlib.Path("saved").write_text(str(number))
    sys.exit(130)
signal.signal(signal.SIGTERM, leave)
signal.signal(signal.SIGINT, leave)
pathlib.Path("begun").touch()
time.sleep(60)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _signal_once_begun(folder, number):
    while not (folder / "begun").exists():
        time.sleep(0.01)
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(("number", "reaches_child"), [(signal.SIGTERM, True), (signal.SIGINT, False)])
def test_a_stage_that_is_stopped_may_save_what_it_has(folder, monkeypatch, number, reaches_child):
    monkeypatch.setattr(stages, "PROGRAM", [sys.executable, "-S", "-c", CHILD])

    def leave(number, frame):
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    started = threading.Thread(target=_signal_once_begun, args=(folder, number), daemon=True)
    if not reaches_child:  # a terminal sends Ctrl-C to all its processes, kill to one
        monkeypatch.setattr(stages.subprocess, "Popen", _interrupted(stages.subprocess.Popen))
    try:
        started.start()
        with pytest.raises(Stopped, match="segtricks fit --resume --name x"):
            stages.run_stage(RUNS / "x", "fit", ["fit"])
    finally:
        signal.signal(signal.SIGTERM, before)
        started.join()
    assert (folder / "saved").read_text() == str(int(number))
    assert stages.finished_words(RUNS / "x", "fit") is None


def _interrupted(popen):
    """Processes that get Ctrl-C when this one does."""

    class Child(popen):
        def wait(self, timeout=None):
            try:
                return super().wait(timeout)
            except KeyboardInterrupt:
                self.send_signal(signal.SIGINT)
                raise

    return Child


def test_a_stage_that_fails_is_named_and_one_that_ends_is_not_run_again(folder, monkeypatch):
    home = RUNS / "x"
    monkeypatch.setattr(stages, "PROGRAM", [sys.executable, "-S", "-c", "raise SystemExit(3)"])
    with pytest.raises(UserError, match=r"`segtricks classes --k 3` failed, see above\. --k is --model\.num_things"):
        stages.run_stage(home, "classes", ["classes", "--k", "3"], "--k is --model.num_things here.")
    monkeypatch.setattr(stages, "PROGRAM", [sys.executable, "-S", "-c", "open('runs.txt', 'a').write('x')"])
    for _ in range(2):
        stages.run_stage(home, "classes", ["classes", "--k", "3"])
    assert (folder / "runs.txt").read_text() == "x"
    assert stages.finished_words(home, "classes") == "classes --k 3"
