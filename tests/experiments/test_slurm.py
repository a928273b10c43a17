import time

import pytest

from segtricks.experiments import slurm

from .experiment_fake import GRID, make_fake

fake = pytest.fixture(make_fake)
submitit = pytest.importorskip("submitit", reason="comes with segtricks[slurm]")

ONE = ("--axis", "backbone=a", "--seeds", "0", "--data", "ecssd", "--launcher", "slurm", "--sbatch=--gres=gpu:1")
CELL = """
cells:
  - {labels: {backbone: "{backbone}"}, run: "{backbone}", row: mask}
"""


def submitted(monkeypatch, numbers=("1001_0", "1001_1", "1001_2")):
    """Jobs that are only noted, in the place of those that Slurm would get."""
    jobs = []

    def note(executor, given):
        jobs.extend(given)
        return [submitit.SlurmJob("slurm", number) for number, _ in zip(numbers, given, strict=False)]

    monkeypatch.setattr(slurm, "submitted", note)
    monkeypatch.setattr(slurm, "make_executor", lambda *_: None)
    return jobs


@pytest.mark.slow
def test_each_run_is_a_job_that_leaves_what_the_next_call_collects(fake, monkeypatch, capsys):
    """By submitit's executor for this machine: a process of its own, in which the fake fails first."""
    fake.write(GRID.replace("[a, b]", "[a]").split('  "{backbone}-crop":')[0] + CELL)
    monkeypatch.setattr(slurm, "CLUSTER", "local")
    monkeypatch.setattr(submitit, "SlurmJob", submitit.LocalJob)
    fake.order("fail", "a-s0")
    words = [word for word in ONE if "backbone" not in word and word != "--axis"]
    folder = fake.folder / "runs/mine"
    for number, failing in enumerate([True, False], 1):
        assert fake.run(*words) == 0
        assert "a-s0: submitted as job" in capsys.readouterr().out
        for _ in range(1000):
            if len(list((folder / "slurm").glob("*_result.pkl"))) == number:
                break
            time.sleep(0.1)
        (call,) = fake.calls_with_environment()
        assert call["WANDB_RUN_GROUP"] == "mine"
        assert ("--resume" in call["words"]) != failing
        assert fake.run(*words) == int(failing)
        assert ("a-s0: DUTS-TR is not here." in capsys.readouterr().err) == failing
        (fake.folder / "fail").unlink(missing_ok=True)
    assert (folder / "a-s0/finished").is_file()
    assert "1 of 1 runs finished" in (folder / "table.md").read_text()


@pytest.mark.parametrize(("done", "status"), [(False, 0), (True, 1)])
def test_only_a_job_that_has_ended_is_submitted_again(fake, monkeypatch, capsys, done, status):
    jobs = submitted(monkeypatch)
    monkeypatch.setattr(submitit.SlurmJob, "done", lambda job: done)
    monkeypatch.setattr(submitit.SlurmJob, "state", "PENDING")
    assert fake.run(*ONE) == 0
    assert [job.run.name for job in jobs] == ["a-s0", "a-crop-s0", "tokencut-ecssd"]
    assert fake.run(*ONE) == status
    assert ("job 1001_1 failed" if done else "job 1001_1 is in the queue (pending)") in capsys.readouterr().out
    assert len(jobs) == 3
    assert fake.run(*ONE) == 0
    assert len(jobs) == (6 if done else 3)


def test_job_that_is_requeued_resumes_its_run(fake, monkeypatch):
    jobs = submitted(monkeypatch)
    fake.run(*ONE)
    fake.order("fail", "a-s0")
    with pytest.raises(RuntimeError, match="DUTS-TR"):
        jobs[0]()
    (fake.folder / "fail").unlink()
    jobs[0].checkpoint().function()
    first, second = fake.calls()
    assert second == [*first, "--resume"]


def test_options_of_sbatch_and_a_time_limit_reach_its_script(fake, monkeypatch):
    """With Slurm's executor, and programs that note what they are given."""
    programs = fake.folder / "bin"
    programs.mkdir()
    for name in ("sbatch", "srun"):
        (programs / name).write_text("#!/bin/bash\ncp $1 script\necho Submitted batch job 1001\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    assert fake.run(*ONE[:-1], "--sbatch=--gres=gpu:1 --time 24:00:00 --exclusive") == 0
    script = (fake.folder / "script").read_text().splitlines()
    wanted = {"gres=gpu:1", "time=24:00:00", "exclusive", "array=0-2%3", "signal=USR2@90", "job-name=mine"}
    assert {f"#SBATCH --{option}" for option in wanted} <= set(script)
    jobs = [path.read_text() for path in sorted((fake.folder / "runs/mine/slurm").glob("*.job"))]
    assert sorted(jobs) == ["1001_0\n", "1001_1\n", "1001_2\n"]


def test_missing_slurm_is_reported(fake, capsys, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert fake.run(*ONE) == 2
    assert 'Could not detect "srun"' in capsys.readouterr().err


def test_short_options_of_sbatch_are_refused(fake, capsys):
    assert fake.run(*ONE[:-1], "--sbatch=-p gpu") == 2
    assert "write options in full" in capsys.readouterr().err
