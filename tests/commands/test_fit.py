import csv
import shutil
import sys
from pathlib import Path

import pytest
import torch
import yaml

from segtricks.cli import main

from .conftest import SMALL


def losses(run):
    with (run / "metrics.csv").open(newline="") as file:
        return {int(row["step"]): row["train/loss"] for row in csv.DictReader(file) if row["train/loss"]}


def numbers(run):
    """Rows of ``metrics.csv`` without what tells how fast the machine was."""
    with (run / "metrics.csv").open(newline="") as file:
        return [{key: cell for key, cell in row.items() if "health/" not in key} for row in csv.DictReader(file)]


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
    assert "could not be used" in error
    assert "--max_bad_share" in error


@pytest.fixture
def copied(trained, tmp_path, monkeypatch):
    """A copy of the trained run in a folder of its own, which is the current one."""
    shutil.copytree(trained / "runs/small", tmp_path / "runs/small")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs/small"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model.backbone", "descriptor"], "patch_size 4 (here 8)"),
        (["--model.hidden_dim", "16"], "hidden_dim 8 (here 16)"),
        (["--model.teacher", "ema"], "teacher 'shared' (here 'ema')"),
    ],
)
def test_refused_resume_changes_nothing_in_the_run(copied, capsys, words, said):
    before = {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()}
    assert main(["fit", "--resume", "--name", "small", *words]) == 2
    assert said in capsys.readouterr().err
    assert {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()} == before


def flipped(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: b"no checkpoint",
        lambda content: content[: len(content) // 2],
        flipped,
    ],
    ids=["empty", "text", "cut", "one bit"],
)
def test_damaged_checkpoint_is_named_and_the_one_before_is_taken(trained, copied, capsys, damage):
    last = copied / "checkpoints/last.ckpt"
    last.write_bytes(damage(last.read_bytes()))
    assert main(["fit", "--resume", "--name", "small", "--test", "none"]) == 0
    said = capsys.readouterr().out
    assert "last.ckpt is damaged" in said and "goes on from runs/small/checkpoints/last-1.ckpt" in said
    assert numbers(copied) == numbers(trained / "runs/small")
    assert torch.load(last, weights_only=True)["global_step"] == 6


def test_a_run_that_was_killed_after_its_last_step_knows_its_sign_in_the_end(copied):
    path = copied / "config.yaml"
    before = yaml.safe_load(path.read_text())["provenance"]
    assert before["inverted"] is not None
    assert main(["fit", "--resume", "--name", "small", "--test", "none"]) == 0
    assert yaml.safe_load(path.read_text())["provenance"] == before


def test_where_all_checkpoints_are_damaged_nothing_is_touched(copied, capsys):
    for path in (copied / "checkpoints").iterdir():
        path.write_bytes(b"")
    before = {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()}
    assert main(["fit", "--resume", "--name", "small"]) == 2
    said = capsys.readouterr().err
    assert said.count("is damaged") == 3 and "under another --name" in said
    assert {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()} == before


def test_what_changed_since_the_checkpoint_is_shown_and_the_command_line_decides(copied, capsys):
    config = copied / "config.yaml"
    config.write_text(config.read_text().replace("sigma: 1.0", "sigma: 2.0"))  # by hand, unnoticed
    words = ["--model.weights.ncut", "0", "--trainer.max_epochs", "3", "--test", "none"]
    assert main(["fit", "--resume", "--name", "small", *words]) == 0
    said = capsys.readouterr().out
    shown = sorted(line for line in said.splitlines() if line.startswith("changed since step 6: "))
    assert [line.removeprefix("changed since step 6: ") for line in shown] == [
        "model.sigma: 1.0 -> 2.0",
        "model.weights.ncut: 1.0 -> 0.0",
        "test: both -> none",
        "trainer.max_epochs: 2 -> 3",
    ]
    assert yaml.safe_load(config.read_text())["model"]["init_args"]["weights"]["ncut"] == 0


def test_resume_with_a_config_starts_a_run_that_is_not_there_yet(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["fit", *SMALL, "--name", "x", "--resume", "--test", "none", "--trainer.max_epochs"]
    assert main([*words, "1"]) == 0
    assert main([*words, "2"]) == 0
    assert sorted(losses(tmp_path / "runs/x")) == [0, 1, 2, 3, 4, 5]


def test_copied_run_keeps_its_best_checkpoint_when_resumed_to_worse(copied):
    best = copied / "checkpoints/best.ckpt"
    before = torch.load(best, weights_only=True)["global_step"]
    words = ["--resume", "--name", "small", "--trainer.max_epochs", "3", "--test", "none"]
    # A learning rate this large can only make the objective worse.
    assert main(["fit", *words, "--model.optimizer.lr", "10", "--model.lr_scheduler", "null"]) == 0
    assert torch.load(best, weights_only=True)["global_step"] == before


def test_run_stopped_before_its_first_checkpoint_starts_again(copied, capsys):
    shutil.rmtree(copied / "checkpoints")
    (copied / "checkpoints").mkdir()
    litter = copied / "checkpoints/.last-abcd1234.ckpt"  # of a process killed as it wrote
    litter.touch()
    words = ["--resume", "--name", "small", "--test", "none", "--trainer.max_epochs", "1"]
    assert main(["fit", *words]) == 0
    said = capsys.readouterr().out
    assert "holds no checkpoint yet: from step 0" in said
    assert "changed since step 0: trainer.max_epochs: 2 -> 1" in said
    assert sorted(losses(copied)) == [0, 1, 2]
    assert not litter.exists()


def test_help_lists_the_options_of_run_method_data_and_trainer(capsys):
    assert main(["fit", "--help"]) == 0
    text = capsys.readouterr().out
    for option in ("--model.crop_fraction", "--data.batch_size", "--save_every", "max_epochs"):
        assert option in text
    assert "threshold of the affinity, a cosine; or share:X" in text


def test_help_is_of_the_method_and_the_data_module_that_the_config_names(capsys):
    assert main(["fit", "--config", "maskcontrast", "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for option in ("--model.temperature", "--data.cells_per_patch", "--data.batch_size", "--data.train"):
        assert sum(line.strip().startswith(f"{option} ") for line in lines) == 1
    assert not any("--data.options" in line for line in lines)


@pytest.mark.parametrize(("command", "used"), [("predict", "--data.eval_batch_size"), ("test", "--data.test_limit")])
def test_help_of_what_does_not_train_leaves_out_what_only_trains(capsys, command, used):
    assert main([command, "--help"]) == 0
    text = capsys.readouterr().out
    assert used in text and "--model.backbone_checkpoint" in text and "precision" in text
    for option in (
        "--model.teacher",
        "--model.optimizer",
        "--data.jitter",
        "--save_every",
        "--on_collapse",
        "max_epochs",
    ):
        assert option not in text


def test_help_shows_the_method_of_the_run(trained, monkeypatch, capsys):
    monkeypatch.chdir(trained)
    shutil.copytree("runs/small", "runs/other")
    config = Path("runs/other/config.yaml")
    config.write_text("model: {class_path: segtricks.methods.Found}")
    assert main(["predict", "--run", "other", "--help"]) == 0
    assert "--model.… (Found)" in capsys.readouterr().out


def test_options_that_the_usage_describes_are_not_listed_twice(capsys):
    assert main(["evaluate", "--help"]) == 0
    assert capsys.readouterr().out.count("--targets DIR ") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--config", "dem"], "Did you mean --config demo"),
        (["--config", "synthetic", "--model.tao", "3"], "Did you mean model.tau"),
        (["--config", "synthetic", "--model.tau", "x"], "tau is 'x', which is not a number"),
        (["--config", "synthetic", "--model", "Sempat"], "Unknown class 'Sempat'"),
        (["--config", "synthetic", "--model.optimizer", "Adamw"], "torch.optim.AdamW"),
        (["--config", "synthetic", "--model.optimizer.lr", "nan"], "model.optimizer.lr has a wrong value, 'nan'"),
        (["--config", "synthetic", "--model.optimizer.lr=nan"], "model.optimizer.lr has a wrong value, 'nan'"),
        (["--config", "synthetic", "--model.optimizer.lr", "-1"], "Invalid learning rate: -1.0"),
        (["--config", "synthetic", "--model.refiner.radius", "-1"], "radius >= 1"),
        (["--config", "synthetic", "--trainer.accelerator", "cuda9"], "cuda9"),
        (["--config", "synthetic", "--data.train", ""], "No dataset given"),
        (["--config", "synthetic", "--model.refiner.radus", "3"], "Did you mean model.refiner.radius"),
        (["--config", "synthetic", "--trainer.max_epoks", "3"], "Did you mean trainer.max_epochs"),
        (["--config", "synthetic", "--model.backbone", "dino_vit8"], "dino_vits8"),
        (["--config", "synthetic", "--data.size", "65"], "--data.size 64"),
        (["--config", "synthetic", "--data.held_out", "999"], "held_out"),
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
