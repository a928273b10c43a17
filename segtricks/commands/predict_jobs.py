"""``segtricks predict --launcher slurm``: the parts of a list of photographs as jobs of a cluster."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segtricks.commands.outputs import find_photographs
from segtricks.commands.predict import add_launcher_options, main
from segtricks.commands.prediction import Model, begin_again
from segtricks.commands.task import Task
from segtricks.errors import UserError
from segtricks.experiments.slurm import Requeued, make_executor, submitted

_SUBMITTED = "_submitted.pkl"  # what submitit writes for each job, after its number
_IN_QUEUE = ("PENDING", "CONFIGURING", "RUNNING", "SUSPENDED", "REQUEUED", "COMPLETING")


@dataclass
class ShardJob(Requeued):
    """``segtricks predict`` of one part, with its option words; requeued, it makes the masks that are missing."""

    words: Sequence[str]

    def __call__(self) -> None:
        """Write the masks."""
        main(self.words)


def submit_shards(task: Task, words: Sequence[str], options: argparse.Namespace, model: Model) -> None:
    """Submit one job for each part of the photographs; say how to watch them and when their results are joined.

    Masks that are made again are removed before, since a requeued job goes on with those that are missing.

    Args:
        task: what they write.
        words: of the command, with those of the launcher.
        options: the parsed words.
        model: what makes the masks.

    Raises:
        UserError: this is a part already, there are no photographs, jobs of an earlier call have not ended, or Slurm is
            missing or refuses.
    """
    if task.shard.count > 1:
        raise UserError("--shard is one part, and --launcher slurm submits all of them.\nNext: pass --jobs N instead.")
    if task.outputs.steady is not None:
        raise UserError("--steady needs all frames in their order: leave out --launcher slurm, or --steady.")
    photographs = len(find_photographs(task.photos, task.output, task.outputs, task.overwrite)[0].images)
    count = min(options.jobs, photographs)
    own = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    add_launcher_options(own)
    own.add_argument("--overwrite", action="store_true")  # done here, or a requeued job would begin again
    _, others = own.parse_known_args(words)
    shards = [ShardJob([*others, "--shard", f"{number}/{count}"]) for number in range(1, count + 1)]
    executor = make_executor(task.output / "slurm", "predict", options.sbatch)
    _check_queue(task.output / "slurm")
    if task.overwrite:
        begin_again(task, model)
    jobs = submitted(executor, shards)
    print(f"{photographs:,} photographs in {count} jobs: {', '.join(job.job_id for job in jobs)}")
    print("Watch them:   squeue --me")
    print(f"Their output: {', '.join(str(job.paths.stdout) for job in jobs)}")
    print(f"Their parts:  joined by the last one to finish, which writes {task.output / 'index.json'}")
    again = "the same command again, without --overwrite," if task.overwrite else "the same command again,"
    print(f"If one fails: type {again} which makes the masks that are missing")


def _check_queue(folder: Path) -> None:
    """Refuse to submit again what has not ended (``UserError``); jobs of which Slurm knows nothing have ended."""
    from submitit import SlurmJob

    jobs: list[Any] = [
        SlurmJob(folder, path.name.removesuffix(_SUBMITTED)) for path in sorted(folder.glob(f"*{_SUBMITTED}"))
    ]
    busy = [job.job_id for job in jobs if job.state in _IN_QUEUE]
    if busy:
        raise UserError(
            f"Jobs of an earlier call write to {folder.parent}: {', '.join(busy)}.\n"
            f"Next: wait until they have ended, or end them with scancel {' '.join(busy)}."
        )
