import pytest
import torch

from segtricks.errors import UserError
from segtricks.training.checkpoint_files import CheckpointFiles, newest_checkpoint


def content(step):
    return {"state_dict": {"w": torch.full((5,), float(step))}, "global_step": step}


def step_of(path):
    return torch.load(path, weights_only=True)["global_step"]


def test_the_last_but_one_is_kept_and_other_names_are_not_doubled(tmp_path):
    files, folder = CheckpointFiles(), tmp_path / "checkpoints"
    for step in (1, 2, 3):
        files.save_checkpoint(content(step), folder / "last.ckpt")
        files.save_checkpoint(content(step), folder / "best.ckpt")
    assert {path.name: step_of(path) for path in folder.iterdir()} == {"last.ckpt": 3, "last-1.ckpt": 2, "best.ckpt": 3}


def test_a_write_that_fails_leaves_both(tmp_path, monkeypatch):
    files, folder = CheckpointFiles(), tmp_path / "checkpoints"
    for step in (1, 2):
        files.save_checkpoint(content(step), folder / "last.ckpt")

    def full(path, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        files.save_checkpoint(content(3), folder / "last.ckpt")
    assert {path.name: step_of(path) for path in folder.iterdir()} == {"last.ckpt": 2, "last-1.ckpt": 1}


def test_the_first_sound_one_is_taken_and_damaged_ones_are_told(tmp_path):
    assert newest_checkpoint(tmp_path) == (None, [])
    files, folder = CheckpointFiles(), tmp_path / "checkpoints"
    for step in (1, 2):
        files.save_checkpoint(content(step), folder / "last.ckpt")
    assert newest_checkpoint(tmp_path) == (folder / "last.ckpt", [])
    (folder / "last.ckpt").write_bytes((folder / "last.ckpt").read_bytes()[:-100])
    path, (told,) = newest_checkpoint(tmp_path)
    assert path == folder / "last-1.ckpt"
    assert "last.ckpt is damaged" in told
    (folder / "last-1.ckpt").write_bytes(b"")
    with pytest.raises(UserError, match=r"last\.ckpt is damaged.*\n.*last-1\.ckpt is damaged"):
        newest_checkpoint(tmp_path)
