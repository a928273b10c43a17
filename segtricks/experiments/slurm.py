"""The runs of an experiment on a cluster: one batch script each, submitted once, collected when finished."""

import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from segtricks.errors import UserError
from segtricks.experiments.plan import Run
from segtricks.experiments.run import PROGRAM, Failure, last_word
from segtricks.experiments.state import FINISHED, Experiment
from segtricks.runs import replacing


def submit(experiment: Experiment, sbatch: Sequence[str]) -> list[Failure]:
    """Submit every run that is neither finished nor in the queue; return those whose job ended without results.

    The next call submits those again, to go on from their last checkpoint.

    Raises:
        UserError: Slurm's commands are missing, or refuse.
    """
    failures = []
    runs = list(experiment.plan.runs.values())
    for number, run in enumerate(runs, 1):
        place = f"[{number}/{len(runs)}] {run.name}"
        if experiment.is_finished(run):
            print(f"{place}: finished", flush=True)
            continue
        job = experiment.home / "slurm" / f"{run.name}.job"
        if job.is_file():
            submitted = job.read_text(encoding="utf-8").strip()
            if _is_queued(submitted):
                print(f"{place}: job {submitted} is in the queue", flush=True)
            else:
                job.unlink()
                failures.append(Failure(run.name, last_word(experiment.log(run)), experiment.log(run)))
                print(f"{place}: job {submitted} failed", flush=True)
            continue
        experiment.clear(run)
        script = experiment.home / "slurm" / f"{run.name}.sh"
        with replacing(script) as path:
            path.write_text(batch_script(experiment, run), encoding="utf-8")
        experiment.log(run).parent.mkdir(parents=True, exist_ok=True)
        submitted = _call(["sbatch", "--parsable", *sbatch, str(script)]).split(";")[0].strip()
        with replacing(job) as path:
            path.write_text(f"{submitted}\n", encoding="utf-8")
        print(f"{place}: submitted as job {submitted}", flush=True)
    return failures


def batch_script(experiment: Experiment, run: Run) -> str:
    """Return the script of one run, which goes on where it stopped if it is started again.

    Slurm tells the step 90 seconds before its end; Lightning then saves a checkpoint and requeues the job.
    """
    folder = experiment.folder(run)
    config, finished = (shlex.quote(str(folder / name)) for name in ("config.yaml", FINISHED))
    words = [word for word in experiment.next_words(run) if word != "--resume"]
    if words[0] == "fit":
        again = f'[ -f {config} ] && set -- "$@" --resume'
    elif run.command != "fit":
        again = f"rm -rf {shlex.quote(str(folder))}"
    else:
        again = ":"
    exports = "\n".join(f"export {key}={shlex.quote(value)}" for key, value in experiment.environment(run).items())
    return f"""\
#!/bin/bash
#SBATCH --job-name={experiment.name}/{run.name}
#SBATCH --output={experiment.log(run)}
#SBATCH --open-mode=append
#SBATCH --chdir={Path.cwd()}
#SBATCH --ntasks=1
#SBATCH --requeue
#SBATCH --signal=SIGUSR1@90
{exports}
set -- {shlex.join([*PROGRAM, *words])}
{again}
srun "$@" && touch {finished}
"""


def _is_queued(job: str) -> bool:
    try:
        answer = _call(["squeue", "--noheader", "--jobs", job])
    except UserError as error:
        if "Invalid job id" in str(error):  # Slurm forgets jobs some minutes after their end
            return False
        raise
    return bool(answer.strip())


def _call(words: list[str]) -> str:
    try:
        done = subprocess.run(words, capture_output=True, text=True)
    except FileNotFoundError:
        raise UserError(f"--launcher slurm needs the command {words[0]}, which is not here.") from None
    sys.stderr.write(done.stderr if done.returncode == 0 else "")
    if done.returncode:
        raise UserError(f"{words[0]} refused: {done.stderr.strip() or f'exit status {done.returncode}'}")
    return done.stdout
