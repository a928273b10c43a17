from types import SimpleNamespace

import pytest

from segtricks.cli import main
from segtricks.errors import UserError
from segtricks.reports.loggers import start_wandb, wandb_logger

WORDS = [
    *("fit", "--config", "demo", "--data.size", "32", "--data.batch_size", "4", "--model.hidden_dim", "8"),
    *("--data.train", "synthetic[:10]", "--data.held_out", "2", "--data.test", "['synthetic[10:12]']"),
    *(
        "--trainer.max_epochs",
        "1",
        "--trainer.log_every_n_steps",
        "1",
        "--test",
        "after",
        "--trainer.enable_progress_bar",
        "false",
    ),
]


def test_offline_run_keeps_config_panels_and_masks_under_the_run_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([*WORDS, "--name", "x", "--wandb", "offline"]) == 0
    run = tmp_path / "runs/x/wandb/latest-run"
    (log,) = run.glob("*.wandb")
    content = log.read_bytes()
    for logged in (b"crop_fraction", b"train/ncut", b"val/loss", b"test/scores", b"soft_mask", b"target"):
        assert logged in content, logged
    assert len(list((run / "files/media").rglob("*.mask.png"))) > 6, "layers of both pictures; equal ones share a file"


def test_without_the_option_nothing_of_it_is_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([*WORDS, "--name", "x"]) == 0
    assert not (tmp_path / "runs/x/wandb").exists()


def test_failing_start_names_the_way_out(tmp_path, monkeypatch):
    def refuse(**options):
        raise ConnectionError("no network")

    monkeypatch.setattr("wandb.init", refuse)
    with pytest.raises(UserError, match=r"no network.\nNext: wandb login, or pass --wandb offline"):
        start_wandb(SimpleNamespace(loggers=[wandb_logger(tmp_path, "online")]), {})
