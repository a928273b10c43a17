import csv
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
import yaml

from segtricks.cli import main

from .conftest import SMALL


def losses(run):
    with (run / "metrics.csv").open(newline="") as file:
        return {int(row["step"]): row["train/loss"] for row in csv.DictReader(file) if row["train/loss"]}


def test_run_folder_holds_config_metrics_checkpoints_pictures_and_scores(trained):
    run = trained / "runs" / "small"
    for name in (
        "config.yaml",
        "metrics.csv",
        "checkpoints/last.ckpt",
        "checkpoints/best.ckpt",
        "figures/losses.png",
        "figures/validation.png",
        "figures/test-synthetic-14-18.png",
        "test/synthetic-14-18.json",
        "test/synthetic-14-18-before.json",
    ):
        assert (run / name).is_file(), name
    assert sorted(losses(run)) == [0, 1, 2, 3, 4, 5]


def test_saved_config_is_complete_and_holds_the_command_lines_values(trained):
    config = yaml.safe_load((trained / "runs/small/config.yaml").read_text())
    assert config["model"]["init_args"]["hidden_dim"] == 8, "the command line beats the YAML"
    assert config["model"]["init_args"]["weights"]["consistency"] == 0.01
    assert config["model"]["init_args"]["optimizer"]["init_args"]["lr"] == 2e-3, "the YAML beats the default"
    assert config["seed_everything"] == 3


def test_saved_config_trains_the_same_again(trained, monkeypatch):
    monkeypatch.chdir(trained)
    assert main(["fit", "--config", "runs/small/config.yaml", "--name", "again", "--test", "none"]) == 0
    assert losses(trained / "runs/again") == losses(trained / "runs/small")


def test_existing_name_is_refused_and_nothing_is_touched(trained, monkeypatch, capsys):
    monkeypatch.chdir(trained)
    before = {path: path.stat().st_mtime_ns for path in (trained / "runs/small").rglob("*")}
    assert main(["fit", *SMALL, "--name", "small"]) == 2
    assert "--resume" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in (trained / "runs/small").rglob("*")} == before


def test_mistake_leaves_no_run_folder_behind(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["fit", *SMALL, "--data.train", "photographs", "--name", "x"]) == 2
    assert "photographs" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_killed_run_resumes_to_the_same_losses_at_every_step(trained, tmp_path):
    words = [*SMALL, "--name", "killed", "--test", "none", "--save_every", "2", "--trainer.max_epochs", "40"]
    command = [sys.executable, "-m", "segtricks", "fit"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen([*command, *words], cwd=tmp_path, env=environment) as process:
        last = tmp_path / "runs/killed/checkpoints/last.ckpt"
        deadline = time.monotonic() + 120
        while not last.is_file() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    step = torch.load(last, weights_only=True)["global_step"]
    assert 0 < step < 120
    resume = ["--resume", "--name", "killed", "--trainer.max_epochs", str(step // 3 + 2)]
    subprocess.run([*command, *resume], cwd=tmp_path, env=environment, check=True)
    subprocess.run(
        [*command, *words, "--name", "whole", "--trainer.max_epochs", str(step // 3 + 2)],
        cwd=tmp_path,
        env=environment,
        check=True,
    )
    resumed, whole = losses(tmp_path / "runs/killed"), losses(tmp_path / "runs/whole")
    assert {k: v for k, v in resumed.items() if k >= step} == {k: v for k, v in whole.items() if k >= step}
    assert len([k for k in resumed if k >= step]) > 0


def test_option_of_the_command_line_beats_the_checkpoint_on_resume(trained, tmp_path, monkeypatch):
    shutil.copytree(trained / "runs/small", tmp_path / "runs/small")
    monkeypatch.chdir(tmp_path)
    words = ["--resume", "--name", "small", "--trainer.max_epochs", "3", "--model.weights.ncut", "0"]
    assert main(["fit", *words, "--trainer.enable_progress_bar", "false", "--test", "none"]) == 0
    config = yaml.safe_load((tmp_path / "runs/small/config.yaml").read_text())
    assert config["model"]["init_args"]["weights"]["ncut"] == 0
    assert sorted(losses(tmp_path / "runs/small")) == list(range(9))
    assert {k: v for k, v in losses(tmp_path / "runs/small").items() if k < 6} == losses(trained / "runs/small")


def test_one_broken_photograph_is_named_and_skipped(tmp_path, monkeypatch, caplog):
    from torchvision.transforms.v2.functional import to_pil_image

    from segtricks.data import SyntheticShapes

    (tmp_path / "photos").mkdir()
    shapes = SyntheticShapes(13, 40)
    for i in range(13):
        to_pil_image(shapes.read_image(i)).save(tmp_path / f"photos/{i:02}.png")
    (tmp_path / "photos/05.png").write_bytes(b"no picture")
    monkeypatch.chdir(tmp_path)
    words = [*SMALL, "--data.train", "photos", "--data.held_out", "1", "--test", "none", "--name", "x"]
    with caplog.at_level("WARNING"):
        assert main(["fit", *words]) == 0
    assert sum("05.png" in record.getMessage() for record in caplog.records) == 1


def test_too_many_broken_photographs_stop_the_run_by_name(tmp_path, monkeypatch, capsys):
    (tmp_path / "photos").mkdir()
    for i in range(14):
        (tmp_path / f"photos/{i:02}.png").write_bytes(b"no picture")
    monkeypatch.chdir(tmp_path)
    assert main(["fit", *SMALL, "--data.train", "photos", "--test", "none", "--name", "x"]) == 2
    error = capsys.readouterr().err
    assert "could not be read" in error
    assert "--max_bad_share" in error


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--config", "dem"], "Did you mean --config demo"),
        (["--config", "demo", "--model.tao", "3"], "Did you mean model.tau"),
        (["--config", "demo", "--model.tau", "x"], "model.tau must be a number or null, got 'x'"),
        (["--config", "demo", "--model", "Sempat"], "Unknown class 'Sempat'"),
        (["--config", "demo", "--model.refiner.radus", "3"], "Did you mean model.refiner.radius"),
        (["--config", "demo", "--trainer.max_epoks", "3"], "Did you mean trainer.max_epochs"),
        (["--config", "demo", "--model.backbone", "dino_vit8"], "dino_vits8"),
        (["--config", "demo", "--data.size", "65"], "--data.size 64"),
        (["--config", "demo", "--data.held_out", "999"], "held_out"),
        (["--config", "sempart_tricks", "--model.backbone", "descriptor"], "DUTS-TR"),
        (["--resume"], "--name NAME"),
        ([], "--config demo"),
    ],
)
def test_mistakes_are_one_or_two_lines_with_the_way_out(tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["segtricks", "fit", *words])
    assert main(["fit", *words]) == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert "Traceback" not in error
    assert len(error.splitlines()) <= 2
    assert not (tmp_path / "runs").exists()
