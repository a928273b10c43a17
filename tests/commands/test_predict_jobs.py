import json

import pytest

from segtricks.cli import main
from segtricks.commands import predict_jobs
from segtricks.data import ImageFolder
from segtricks.experiments import slurm
from segtricks.experiments.slurm import submitted

pytest.importorskip("submitit", reason="comes with segtricks[slurm]")


@pytest.fixture
def predict(trained, drawn, tmp_path, monkeypatch):
    """Predict into a folder of ``tmp_path``, in jobs that submitit runs in this process; return them."""
    monkeypatch.chdir(trained)
    monkeypatch.setattr(slurm, "CLUSTER", "debug")
    jobs = []
    monkeypatch.setattr(predict_jobs, "submitted", lambda *given: jobs.extend(submitted(*given)) or jobs)

    def predict(output, *words, status=0):
        given = ["predict", "--images", str(drawn), "--output", str(tmp_path / output), "--run", "runs/small", *words]
        assert main(given) == status
        return jobs

    return predict


def masks(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.png")}


def test_jobs_share_the_photographs_and_the_last_one_joins_the_index(predict, tmp_path, capsys):
    predict("whole")
    capsys.readouterr()
    first, second = predict("out", "--launcher", "slurm", "--jobs=2", "--boxes", "--sbatch=--gres=gpu:1")
    said = capsys.readouterr().out
    assert f"3 photographs in 2 jobs: {first.job_id}, {second.job_id}" in said
    assert str(first.paths.stdout) in said
    second.result()
    assert not (tmp_path / "out/index.json").exists()
    first.result()
    index, whole = (json.loads((tmp_path / name / "index.json").read_text()) for name in ("out", "whole"))
    assert index["images"] == whole["images"] == 3
    assert (tmp_path / "out/boxes.json").is_file()
    assert masks(tmp_path / "out") == masks(tmp_path / "whole")


def test_requeued_job_makes_the_masks_that_are_missing(predict, drawn, tmp_path):
    (job,) = predict("out", "--launcher", "slurm", "--jobs", "1")
    job.result()
    before = masks(tmp_path / "out")
    name = ImageFolder(drawn).images[0].with_suffix(".png").name
    (tmp_path / "out/soft" / name).unlink()
    job.submission().function.checkpoint().function()
    assert masks(tmp_path / "out") == before
    assert json.loads((tmp_path / "out/index.json").read_text())["already_there"] == 2


def test_masks_that_are_made_again_are_removed_once_and_a_requeued_job_goes_on(predict, drawn, tmp_path, capsys):
    other = ["--model.refine_at", "full"]
    predict("out")
    predict("fresh", *other)
    old, fresh = masks(tmp_path / "out"), masks(tmp_path / "fresh")
    assert old != fresh
    capsys.readouterr()
    first, second = predict("out", *other, "--launcher", "slurm", "--jobs=2", "--overwrite")
    assert "type the same command again, without --overwrite" in capsys.readouterr().out
    assert masks(tmp_path / "out") == {}
    settings = [json.loads((tmp_path / name / "settings.json").read_text()) for name in ("out", "fresh")]
    assert settings[0] == settings[1]
    first.result()
    part = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.png")}
    first.submission().function.checkpoint().function()
    assert part and {path: path.stat().st_mtime_ns for path in part} == part
    second.result()
    assert masks(tmp_path / "out") == fresh


def test_what_is_in_the_queue_is_not_submitted_again(predict, tmp_path, monkeypatch, capsys):
    import submitit

    (tmp_path / "out/slurm").mkdir(parents=True)
    for job in ("41_0", "42_0", "42_1"):
        (tmp_path / f"out/slurm/{job}_submitted.pkl").touch()
    states = {"41_0": "FAILED", "42_0": "RUNNING", "42_1": "UNKNOWN"}
    monkeypatch.setattr(submitit.SlurmJob, "state", property(lambda job: states[job.job_id]))
    words = ["--launcher", "slurm", "--jobs", "1"]
    assert predict("out", *words, status=2) == []
    assert "Next: wait until they have ended, or end them with scancel 42_0." in capsys.readouterr().err
    states["42_0"] = "TIMEOUT"
    assert len(predict("out", *words)) == 1


def test_no_more_jobs_than_photographs(predict):
    assert len(predict("out", "--launcher", "slurm", "--jobs", "8")) == 3


def test_a_part_is_not_split_again(predict, capsys):
    predict("out", "--launcher", "slurm", "--shard", "1/2", status=2)
    assert "pass --jobs" in capsys.readouterr().err
