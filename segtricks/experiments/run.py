"""The folder of an experiment, and its runs there, one after the other."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from segtricks.errors import Stopped
from segtricks.experiments.plan import Plan, Run, as_text
from segtricks.runs import RUNS, checkpoint_of, hold
from segtricks.scoring.results import is_before, read_json, result_files

PROGRAM = [sys.executable, "-m", "segtricks"]
FINISHED = "finished"  # an empty file in a run's folder: whoever tests a half-trained run does not finish it


@dataclass
class Failure:
    """A run that ended without its results: why, in one line, and where its output is."""

    run: str
    reason: str
    log: Path


@dataclass(frozen=True)
class Experiment:
    """A plan and its folder ``runs/NAME``.

    Args:
        name: of the folder.
        plan: what is run and shown.
        again: the command that goes on with it.
        program: what runs a command of segtricks.
    """

    name: str
    plan: Plan
    again: str = ""
    program: Sequence[str] = field(default_factory=lambda: PROGRAM)

    @property
    def home(self) -> Path:
        """The folder of everything."""
        return RUNS / self.name

    def folder(self, run: Run) -> Path:
        """Return the folder of a run."""
        return self.home / run.name

    def log(self, run: Run) -> Path:
        """Return the file that takes the output of a run."""
        return self.home / "logs" / f"{run.name}.log"

    def is_finished(self, run: Run) -> bool:
        """Return whether a run ended as it should and all its results are there."""
        return (self.folder(run) / FINISHED).is_file() and len(self.results(run)) == len(run.data)

    def results(self, run: Run) -> dict[str, dict[str, Any]]:
        """Return the content of a run's result files by data set, where they hold every row that a cell needs.

        Those of an earlier checkpoint are left out, and those of another protocol or polarity.
        """
        from segtricks.metrics import get_protocol  # imports torch, which a dry run can do without

        folder = self.folder(run)
        trained = checkpoint_of(folder).stat().st_mtime if (folder / "checkpoints").is_dir() else 0.0
        rows = {cell.row for cell in self.plan.cells_of(run)}
        polarity = get_protocol(run.protocol).polarity
        found: dict[str, dict[str, Any]] = {}
        for file in result_files(folder):
            if file.stat().st_mtime < trained or is_before(file):
                continue
            content = read_json(file)
            protocol = content.get("protocol", {})
            # Masks from elsewhere are never inverted.
            same = protocol.get("name") == run.protocol and protocol.get("polarity", polarity) in ("none", polarity)
            if same and rows <= set(content.get("rows", ())):
                found[content["dataset"]] = content
        names = {data: data if data in found else Path(data).name for data in run.data}
        return {data: found[name] for data, name in names.items() if name in found}

    def next_words(self, run: Run) -> list[str]:
        """Return the command that brings a run nearer to its end: the first time, after a stop, or to score it."""
        folder = self.folder(run)
        if run.command == "fit" and (folder / FINISHED).is_file():
            return ["test", "--run", str(folder), *run.words, *run.scoring_words()]
        resume = ["--resume"] if run.command == "fit" and (folder / "config.yaml").is_file() else []
        return [*run.command_line(self.name), *resume]

    def environment(self, run: Run) -> dict[str, str]:
        """Return the environment of a run, with what groups the runs at Weights & Biases.

        The experiment is the group, the run's name without its seed the job type, and the labels of its cells the tags.
        """
        # A run is one job of its own: Lightning must not take it for a task of the job that the experiment runs in.
        found = {key: value for key, value in os.environ.items() if not key.startswith("SLURM_")}
        labels = [f"{key}={as_text(value)}" for cell in self.plan.cells_of(run) for key, value in cell.labels.items()]
        # A tag has at most 64 letters, and an empty one stops the run; commas stand between tags.
        if tags := list(dict.fromkeys(label.replace(",", ";")[:64] for label in labels)):
            found["WANDB_TAGS"] = ",".join(tags)
        return found | {"WANDB_RUN_GROUP": self.name, "WANDB_JOB_TYPE": run.base}


@contextmanager
def locked(home: Path) -> Iterator[int | None]:
    """Hold the experiment's lock, and yield its file descriptor for a child to inherit; None on Windows.

    Should only this process be killed, the child trains on and keeps the lock.

    Raises:
        UserError: another process holds it.
    """
    home.mkdir(parents=True, exist_ok=True)
    refusal = f"{home} is at work in another process.\nNext: wait for it, or pass --name."
    with hold(home / ".lock", refusal, inherited=True) as descriptor:
        yield descriptor


def run_here(experiment: Experiment, lock: int | None) -> list[Failure]:
    """Do everything that is not finished, one run after the other; return those that failed.

    Raises:
        Stopped: at Ctrl-C, once the run at work has ended.
    """
    failures = []
    runs = list(experiment.plan.runs.values())
    for number, run in enumerate(runs, 1):
        print(f"[{number}/{len(runs)}] {run.name}:", end=" ", flush=True)
        if experiment.is_finished(run):
            print("finished before", flush=True)
            continue
        started = time.perf_counter()
        print("is at work …", end=" ", flush=True)
        try:
            failure = attempt(experiment, run, lock)
        except KeyboardInterrupt:
            print("stopped", flush=True)
            raise Stopped(f"Stopped. Next, to go on: {experiment.again}") from None
        took = timedelta(seconds=round(time.perf_counter() - started))
        print(f"failed after {took}" if failure else f"took {took}", flush=True)
        failures += [failure] if failure else []
    return failures


def attempt(experiment: Experiment, run: Run, lock: int | None = None) -> Failure | None:
    """Begin a run, or go on with it, and wait for its end."""
    folder = experiment.folder(run)
    # What a run without training has left cannot go on; a link may lead to a run that is gone.
    if folder.is_symlink() and (run.command != "fit" or not folder.exists()):
        folder.unlink()
    elif run.command != "fit" and folder.is_dir():
        shutil.rmtree(folder)
    words = [*experiment.program, *experiment.next_words(run)]
    log = experiment.log(run)
    status = _execute(words, log, experiment.environment(run), lock)
    if status:
        return Failure(run.name, last_word(log) if status > 0 else f"ended by signal {-status}", log)
    (folder / FINISHED).touch()
    if experiment.is_finished(run):
        return None
    missing = [data for data in run.data if data not in experiment.results(run)]
    rows = sorted({cell.row for cell in experiment.plan.cells_of(run)})
    return Failure(run.name, f"no result on {', '.join(missing)} with the rows {str(rows)[1:-1]}", log)


def last_word(log: Path) -> str:
    """Return what the output of a failed run says at its end: our own error, or else the last line."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    lines = [line.strip() for line in re.split(r"[\r\n]+", text) if line.strip()]
    own = [line for line in lines[-5:] if line.startswith("segtricks: ")]
    return (own or lines or ["no output"])[-1].removeprefix("segtricks: ")


def _execute(words: Sequence[str], log: Path, environment: Mapping[str, str], lock: int | None) -> int:
    log.parent.mkdir(parents=True, exist_ok=True)
    # A session of its own: at Ctrl-C the child gets one signal, from here, and not a second one from the terminal.
    with (
        log.open("ab") as output,
        subprocess.Popen(
            words,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=environment,
            pass_fds=() if lock is None else (lock,),
            start_new_session=True,
        ) as child,
    ):
        try:
            return child.wait()
        except (KeyboardInterrupt, SystemExit):
            if sys.platform != "win32":  # its console has sent Ctrl-C to the child as well
                child.send_signal(signal.SIGINT)
            child.wait()
            raise
