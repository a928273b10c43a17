import json
import subprocess

import pytest

from .experiment_fake import make_fake

fake = pytest.fixture(make_fake)

ONE = ("--axis", "backbone=a", "--seeds", "0", "--data", "ecssd", "--launcher", "slurm", "--sbatch=--gres=gpu:1")

# Job 1000 + n is the n-th; it runs at once unless there is a file `wait`. `squeue` knows the jobs in the file `queue`.
SBATCH = """#!/bin/bash
echo "$@" >> sbatch.log
job=$((1000 + $(wc -l < sbatch.log)))
echo "$job;cluster"
script="${@: -1}"
output=$(sed -n 's/^#SBATCH --output=//p' "$script")
if [ ! -f wait ]; then bash "$script" >> "$output" 2>&1; else echo "$job" >> queue; fi
exit 0
"""
SQUEUE = """#!/bin/bash
if [ -f broken ]; then echo "slurm_load_jobs error: Unable to contact slurm controller" >&2; exit 1; fi
grep -sx "${@: -1}" queue && exit 0
echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1
"""


@pytest.fixture
def cluster(fake, monkeypatch):
    programs = fake.folder / "bin"
    programs.mkdir()
    for name, text in {"sbatch": SBATCH, "squeue": SQUEUE, "srun": '#!/bin/bash\nexec "$@"\n'}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    return fake


def test_each_run_is_a_job_and_the_next_call_collects(cluster, capsys):
    assert cluster.run(*ONE) == 0
    submitted = (cluster.folder / "sbatch.log").read_text().splitlines()
    assert submitted == [
        f"--parsable --gres=gpu:1 runs/mine/slurm/{run}.sh" for run in ("a-s0", "a-crop-s0", "tokencut-ecssd")
    ]
    assert "submitted as job 1001" in capsys.readouterr().out
    assert [call["WANDB_RUN_GROUP"] for call in cluster.calls_with_environment()] == ["mine"] * 3
    assert cluster.run(*ONE) == 0
    assert len((cluster.folder / "sbatch.log").read_text().splitlines()) == 3
    assert "3 of 3 runs finished" in (cluster.folder / "runs/mine/table.md").read_text()


def test_job_in_the_queue_is_not_submitted_twice(cluster, capsys):
    (cluster.folder / "wait").touch()
    assert cluster.run(*ONE) == 0
    assert cluster.run(*ONE) == 0
    assert len((cluster.folder / "sbatch.log").read_text().splitlines()) == 3
    assert "job 1002 is in the queue" in capsys.readouterr().out


def test_queue_that_does_not_answer_is_no_reason_to_submit_again(cluster, capsys):
    (cluster.folder / "wait").touch()
    cluster.run(*ONE)
    (cluster.folder / "broken").touch()
    assert cluster.run(*ONE) == 2
    assert "Unable to contact" in capsys.readouterr().err
    assert len((cluster.folder / "sbatch.log").read_text().splitlines()) == 3


def test_failed_job_is_told_and_goes_on_with_the_call_after(cluster, capsys):
    cluster.order("fail", "a-s0")
    assert cluster.run(*ONE) == 0
    assert cluster.run(*ONE) == 1
    assert "a-s0: DUTS-TR is not here." in capsys.readouterr().err
    (cluster.folder / "fail").unlink()
    cluster.calls()
    assert cluster.run(*ONE) == 0
    (call,) = cluster.calls()
    assert call[-1] == "--resume"
    assert (cluster.folder / "runs/mine/a-s0/finished").is_file()


def test_requeued_job_resumes_by_itself(cluster):
    """Slurm starts the same script once more."""
    (cluster.folder / "wait").touch()
    cluster.run(*ONE)
    script = "runs/mine/slurm/a-s0.sh"
    cluster.order("fail", "a-s0")
    assert subprocess.run(["bash", script], cwd=cluster.folder, capture_output=True).returncode == 2
    assert not (cluster.folder / "runs/mine/a-s0/finished").exists()
    (cluster.folder / "fail").unlink()
    assert subprocess.run(["bash", script], cwd=cluster.folder).returncode == 0
    first, second = cluster.calls()
    assert second == [*first, "--resume"]
    assert json.loads(second[second.index("--data.test") + 1]) == ["ecssd"]


def test_missing_slurm_is_told(fake, capsys, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert fake.run(*ONE) == 2
    assert "needs the command sbatch" in capsys.readouterr().err
