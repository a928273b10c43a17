"""The runs of an experiment on a cluster: one array job of Slurm, submitted once, collected when finished."""

from collections.abc import Sequence
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


@dataclass
class Job:
    """A run as submitit starts it, and starts it again where the time was up or the machine was needed."""

    experiment: Experiment
    run: Run

    def __call__(self) -> None:
        """Begin the run, or go on with it.

        Raises:
            RuntimeError: it failed; submitit then knows that the job is over.
        """
        if failure := attempt(self.experiment, self.run):
            raise RuntimeError(failure.reason)

    def checkpoint(self) -> Any:
        """Return what the requeued job does: the same, as the run has its own checkpoints."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def submit(experiment: Experiment, sbatch: Sequence[str]) -> list[Failure]:
    """Submit every run that is neither finished nor in the queue; return those whose job ended without results.

    The next call submits those again, to go on from their last checkpoint.

    Raises:
        UserError: submitit or Slurm's commands are missing, or refuse.
    """
    executor = _executor(experiment, sbatch)
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
    for run, job in zip(todo, _submitted(executor, [Job(experiment, run) for run in todo]), strict=True):
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


def _executor(experiment: Experiment, sbatch: Sequence[str]) -> Any:
    if any(word.startswith("-") and not word.startswith("--") for word in sbatch):
        raise UserError('--sbatch: write options in full, such as --sbatch="--partition=gpu --time=24:00:00".')
    try:
        from submitit import AutoExecutor

        executor = AutoExecutor(experiment.home / "slurm", CLUSTER, slurm_max_num_timeout=_OFTEN)
    except ImportError:
        raise UserError('--launcher slurm needs submitit.\nNext: pip install "segtricks[slurm]"') from None
    except RuntimeError as error:
        raise UserError(f"--launcher slurm: {error}") from error
    options = {key: value or True for key, value in option_pairs(sbatch).items()}
    executor.update_parameters(
        name=experiment.name, timeout_min=_MINUTES, stderr_to_stdout=True, slurm_additional_parameters=options
    )
    return executor


def _submitted(executor: Any, jobs: Sequence[Job]) -> list[Any]:
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    if not jobs:
        return []
    try:
        with executor.batch():
            submitted = [executor.submit(job) for job in jobs]
    except (FailedJobError, FailedSubmissionError) as error:
        raise UserError(f"sbatch refused: {error}") from error
    return submitted
