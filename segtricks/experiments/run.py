"""The runs of an experiment, here, one after the other."""

import fcntl
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from segtricks.errors import Stopped, UserError
from segtricks.experiments.plan import Run
from segtricks.experiments.state import FINISHED, Experiment

PROGRAM = [sys.executable, "-m", "segtricks"]


@dataclass
class Failure:
    """A run that ended without its results: why, in one line, and where its output is."""

    run: str
    reason: str
    log: Path


@contextmanager
def alone(home: Path) -> Iterator[int]:
    """Hold the experiment's lock, and yield its file descriptor for a child to inherit.

    Should only this process be killed, the child trains on and keeps the lock.

    Raises:
        UserError: someone else holds it.
    """
    home.mkdir(parents=True, exist_ok=True)
    with (home / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{home} is at work in another process.\nNext: wait for it, or pass --name.") from None
        yield file.fileno()


def run_here(experiment: Experiment, lock: int) -> list[Failure]:
    """Do everything that is not finished, one run after the other; return those that failed.

    Raises:
        Stopped: at Ctrl-C, once the run at work has ended.
    """
    failures = []
    runs = list(experiment.plan.runs.values())
    for number, run in enumerate(runs, 1):
        place = f"[{number}/{len(runs)}] {run.name}"
        if experiment.is_finished(run):
            print(f"{place}: finished before", flush=True)
            continue
        experiment.clear(run)
        words = experiment.next_words(run)
        doing = "goes on" if "--resume" in words else "trains" if words[0] == "fit" else "is scored"
        print(f"{place}: {doing} …", end=" ", flush=True)
        started = time.perf_counter()
        try:
            status = _execute([*PROGRAM, *words], experiment.log(run), experiment.environment(run), lock)
        except KeyboardInterrupt:
            print("stopped", flush=True)
            raise Stopped(f"Stopped. Next, to go on: {experiment.again}") from None
        if status == 0:
            (experiment.folder(run) / FINISHED).touch()
        took = duration(time.perf_counter() - started)
        if experiment.is_finished(run):
            print(took, flush=True)
        else:
            failures.append(Failure(run.name, _reason(experiment, run, status), experiment.log(run)))
            print(f"failed after {took}", flush=True)
    return failures


def duration(seconds: float) -> str:
    """Return a time as text: ``3 min 2 s``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def last_word(log: Path) -> str:
    """Return what the output of a failed run says at its end: our own error, or else the last line."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    lines = [line.strip() for line in re.split(r"[\r\n]+", text) if line.strip()]
    own = [line for line in lines[-5:] if line.startswith("segtricks: ")]
    return (own or lines or ["no output"])[-1].removeprefix("segtricks: ")


def _execute(words: Sequence[str], log: Path, environment: Mapping[str, str], lock: int) -> int:
    log.parent.mkdir(parents=True, exist_ok=True)
    # A session of its own: at Ctrl-C the child gets one signal, from here, and not a second one from the terminal.
    with (
        log.open("ab") as output,
        subprocess.Popen(
            words,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **environment},
            pass_fds=(lock,),
            start_new_session=True,
        ) as child,
    ):
        try:
            return child.wait()
        except KeyboardInterrupt:
            child.send_signal(signal.SIGINT)
            child.wait()
            raise


def _reason(experiment: Experiment, run: Run, status: int) -> str:
    if status:
        return last_word(experiment.log(run)) if status > 0 else f"ended by signal {-status}"
    missing = [data for data in run.data if data not in experiment.results(run)]
    rows = ", ".join(sorted({f"'{cell.row}'" for cell in experiment.plan.cells_of(run)}))
    return f"no result on {', '.join(missing)} with the rows {rows}"
