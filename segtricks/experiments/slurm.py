"""Jobs of Slurm, by submitit. The runs of an experiment are one array, submitted once, collected when finished."""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segtricks.errors import UserError
from segtricks.experiments.plan import Run, option_pairs
from segtricks.experiments.run import Experiment, Failure, attempt, last_word
from segtricks.runs import replacing

CLUSTER = "slurm"
_MINUTES = 240  # of a job without --sbatch="--time=…"
_OFTEN = 10**6  # a run has its number of steps; how many jobs they take makes no difference


class Requeued:
    """What submitit starts, and starts again where the time was up or the machine was needed."""

    def __call__(self) -> None:
        """Begin, or go on."""
        raise NotImplementedError

    def checkpoint(self) -> Any:
        """Return what the requeued job does: the same, which goes on from what it has written."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


@dataclass
class Job(Requeued):
    """A run as submitit starts it."""

    experiment: Experiment
    run: Run

    def __call__(self) -> None:
        """Begin the run, or go on with it.

        Raises:
            RuntimeError: it failed; submitit then knows that the job is over.
        """
        if failure := attempt(self.experiment, self.run):
            raise RuntimeError(failure.reason)


def submit(experiment: Experiment, sbatch: str) -> list[Failure]:
    """Submit every run that is neither finished nor in the queue; return those whose job ended without results.

    The next call submits those again, to go on from their last checkpoint.

    Raises:
        UserError: submitit or Slurm's commands are missing, or refuse.
    """
    executor = make_executor(experiment.home / "slurm", experiment.name, sbatch)
    failures, todo = [], []
    for run in experiment.plan.runs.values():
        job = _job_of(experiment, run)
        if experiment.is_finished(run):
            state = "finished"
        elif job is None:
            todo.append(run)
            continue
        elif job.done():
            _record(experiment, run).unlink()
            failures.append(Failure(run.name, last_word(experiment.log(run)), experiment.log(run)))
            state = f"job {job.job_id} failed"
        else:
            state = f"job {job.job_id} is in the queue ({job.state.lower()})"
        print(f"{run.name}: {state}", flush=True)
    for run, job in zip(todo, submitted(executor, [Job(experiment, run) for run in todo]), strict=True):
        with replacing(_record(experiment, run)) as path:
            path.write_text(f"{job.job_id}\n", encoding="utf-8")
        print(f"{run.name}: submitted as job {job.job_id}", flush=True)
    return failures


def _record(experiment: Experiment, run: Run) -> Path:
    """The file that holds the number of a run's job."""
    return experiment.home / "slurm" / f"{run.name}.job"


def _job_of(experiment: Experiment, run: Run) -> Any:
    from submitit import SlurmJob

    record = _record(experiment, run)
    return SlurmJob(record.parent, record.read_text(encoding="utf-8").strip()) if record.is_file() else None


def make_executor(folder: Path, name: str, sbatch: str) -> Any:
    """Return submitit's executor.

    Args:
        folder: where it keeps its files and the logs of the jobs.
        name: of the jobs.
        sbatch: options for every job, in full: ``--gres=gpu:1 --time=24:00:00``.

    Raises:
        UserError: submitit or Slurm's commands are missing, or an option is not written in full.
    """
    words = shlex.split(sbatch)
    if any(word.startswith("-") and not word.startswith("--") for word in words):
        raise UserError('--sbatch: write options in full, such as --sbatch="--partition=gpu --time=24:00:00".')
    try:
        from submitit import AutoExecutor

        executor = AutoExecutor(folder, CLUSTER, slurm_max_num_timeout=_OFTEN)
    except ImportError:
        raise UserError('--launcher slurm needs submitit.\nNext: pip install "segtricks[slurm]"') from None
    except RuntimeError as error:
        raise UserError(f"--launcher slurm: {error}") from error
    options = {key: value or True for key, value in option_pairs(words).items()}
    executor.update_parameters(
        name=name, timeout_min=_MINUTES, stderr_to_stdout=True, slurm_additional_parameters=options
    )
    return executor


def submitted(executor: Any, jobs: Sequence[Callable[[], None]]) -> list[Any]:
    """Submit all as one array and return submitit's jobs.

    Raises:
        UserError: Slurm refuses.
    """
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    if not jobs:
        return []
    try:
        with executor.batch():
            submitted = [executor.submit(job) for job in jobs]
    except (FailedJobError, FailedSubmissionError) as error:
        raise UserError(f"sbatch refused: {error}") from error
    return submitted
