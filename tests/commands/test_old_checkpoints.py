"""Checkpoints that were written before the sign of a head was kept."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import segtricks
from segtricks.cli import main


@pytest.fixture
def old(trained, tmp_path, monkeypatch):
    """A run whose checkpoints lack the sign, and its masks before any sign is applied."""
    shutil.copytree(trained / "runs", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "runs/small/checkpoints/best.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    del checkpoint["state_dict"]["sign.votes"]
    # A head that marks the border of every image: its last bias decides.
    checkpoint["state_dict"]["head.fine.weight"].zero_()
    checkpoint["state_dict"]["head.fine.bias"].fill_(4.0)
    torch.save(checkpoint, path)
    return path


def test_training_photographs_decide_when_a_run_is_loaded_and_it_is_said_once(old, caplog):
    module = segtricks.load_run("small")
    assert module.sign.inverted
    assert module.soft_masks(torch.zeros(1, 3, 32, 32)).max() < 0.1
    assert [
        record.getMessage() for record in caplog.records if "by the borders of" in record.getMessage()
    ].__len__() == 1


def test_predict_and_test_apply_it_too(old, tmp_path, caplog):
    (tmp_path / "photos").mkdir()
    Image.fromarray(np.zeros((32, 48, 3), np.uint8)).save(tmp_path / "photos/a.png")
    assert main(["predict", "--run", "small", "--images", "photos", "--output", "masks"]) == 0
    assert np.asarray(Image.open("masks/soft/a.png")).max() < 26
    assert main(["test", "--run", "small", "--panels", "0"]) == 0
    assert torch.load(old, weights_only=True)["state_dict"].keys().isdisjoint({"sign.votes"}), "the file is left alone"


def test_the_photographs_at_hand_decide_where_those_of_the_training_are_gone(old, tmp_path, caplog):
    config = tmp_path / "runs/small/config.yaml"
    content = yaml.safe_load(config.read_text())
    content["data"]["init_args"]["train"] = "gone"
    config.write_text(yaml.safe_dump(content))
    assert not segtricks.load_run("small").sign.known
    assert "no photographs show it" in caplog.text
    (tmp_path / "photos").mkdir()
    Image.fromarray(np.zeros((32, 48, 3), np.uint8)).save(tmp_path / "photos/a.png")
    assert main(["predict", "--run", "small", "--images", "photos", "--output", "masks"]) == 0
    assert np.asarray(Image.open("masks/soft/a.png")).max() < 26


def test_a_new_run_keeps_its_sign_in_checkpoint_config_and_results(trained, monkeypatch):
    monkeypatch.chdir(trained)
    votes = torch.load("runs/small/checkpoints/last.ckpt", weights_only=True)["state_dict"]["sign.votes"]
    assert votes.sum() > 0
    found = yaml.safe_load(Path("runs/small/config.yaml").read_text())["provenance"]
    assert found["inverted"] == bool(votes[0] > votes[1]) and found["tau"] == 0.4
