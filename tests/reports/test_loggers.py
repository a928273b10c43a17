from types import SimpleNamespace

import pytest

from segtricks.cli import main
from segtricks.errors import UserError
from segtricks.reports.loggers import start_wandb, wandb_logger, without_folders

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
    content = _records(log.read_bytes())
    for logged in (b"crop_fraction", b"train/ncut", b"val/loss", b"test/scores", b"soft_mask", b"target"):
        assert logged in content, logged
    assert len(list((run / "files/media").rglob("*.mask.png"))) > 6, "layers of both pictures; equal ones share a file"


def _records(content: bytes) -> bytes:
    """The records of a W&B file without the headers that cut them: 32 KiB blocks, as LevelDB's log."""
    parts, place = [], 7
    while place + 7 <= len(content):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        length = int.from_bytes(content[place + 4 : place + 6], "little")
        parts.append(content[place + 7 : place + 7 + length])
        place += 7 + length
    return b"".join(parts)


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


def test_absolute_paths_of_a_config_are_cut_and_everything_else_stays():
    config = {"data": {"root": "/home/alice/x", "test": ["~/b/c", "ecssd[:9]", "d/e"], "size": 9}, "name": "runs/a"}
    shared = {"data": {"root": "…/x", "test": ["…/c", "ecssd[:9]", "d/e"], "size": 9}, "name": "runs/a"}
    assert without_folders(config) == shared
