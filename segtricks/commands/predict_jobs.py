"""``segtricks predict --launcher slurm``: the parts of a list of photographs as jobs of a cluster."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from segtricks.commands.predict import add_launcher_options, main
from segtricks.commands.task import Task
from segtricks.data import ImageFolder
from segtricks.errors import UserError
from segtricks.experiments.slurm import Requeued, make_executor, submitted


@dataclass
class ShardJob(Requeued):
    """``segtricks predict`` of one part, with its option words; requeued, it makes the masks that are missing."""

    words: Sequence[str]

    def __call__(self) -> None:
        """Write the masks."""
        main(self.words)


def submit_shards(task: Task, words: Sequence[str], options: argparse.Namespace) -> None:
    """Submit one job for each part of the photographs; say how to watch them and when their results are joined.

    Args:
        task: what they write.
        words: of the command, with those of the launcher.
        options: the parsed words.

    Raises:
        UserError: this is a part already, there are no photographs, or Slurm is missing or refuses.
    """
    if task.shard.count > 1:
        raise UserError("--shard is one part, and --launcher slurm submits all of them.\nNext: pass --jobs N instead.")
    photographs = len(ImageFolder(task.photos).images)
    count = min(options.jobs, photographs)
    launcher = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    add_launcher_options(launcher)
    _, others = launcher.parse_known_args(words)
    shards = [ShardJob([*others, "--shard", f"{number}/{count}"]) for number in range(1, count + 1)]
    jobs = submitted(make_executor(task.output / "slurm", "predict", options.sbatch), shards)
    print(f"{photographs:,} photographs in {count} jobs: {', '.join(job.job_id for job in jobs)}")
    print("Watch them:   squeue --me")
    print(f"Their output: {', '.join(str(job.paths.stdout) for job in jobs)}")
    print(f"Their parts:  joined by the last one to finish, which writes {task.output / 'index.json'}")
    print("If one fails: type the same command again, which makes the masks that are missing")
