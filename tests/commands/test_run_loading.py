import json
import random

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

import segtricks
from segtricks.cli import main
from segtricks.errors import UserError
from segtricks.methods import Sempart

SMALL = [
    *("--config", "synthetic"),
    *("--data.size", "32", "--data.batch_size", "4", "--model.hidden_dim", "8", "--test", "none"),
    *("--data.train", "synthetic[:10]", "--data.held_out", "2", "--trainer.max_epochs", "1", "--name", "x"),
]


def test_a_run_comes_back_with_its_options_and_weights_and_draws_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["fit", *SMALL, "--model.refiner.radius", "3", "--trainer.accelerator", "cpu"]) == 0
    state = torch.random.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    module = segtricks.load_run("x")
    assert torch.equal(torch.random.get_rng_state(), state[0])
    assert random.getstate() == state[1]
    assert np.array_equal(np.random.get_state()[1], state[2])
    assert isinstance(module, Sempart) and not module.training
    assert module.refiner.radius == 3
    saved = torch.load("runs/x/checkpoints/best.ckpt", weights_only=True)["state_dict"]
    ours = module.state_dict()
    assert saved and all(torch.equal(ours[name], value) for name, value in saved.items())
    assert module.soft_masks(torch.randn(1, 3, 40, 24)).shape == (1, 1, 40, 24)
    last = segtricks.load_run(tmp_path / "runs/x", tmp_path / "runs/x/checkpoints/last.ckpt")
    assert last.identity() == module.identity()


def test_a_run_that_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="nine"):
        segtricks.load_run("nine")


def test_nothing_else_is_made_up():
    with pytest.raises(AttributeError, match="no attribute 'load'"):
        segtricks.load  # noqa: B018


def _write_weights(path, seed):
    torch.manual_seed(seed)
    state = timm.create_model("vit_small_patch16_224", num_classes=0, dynamic_img_size=True).state_dict()
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, path)


def test_a_run_finds_the_weights_of_its_backbone_where_their_file_moved_and_takes_no_others(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = tmp_path / "weights.safetensors"
    _write_weights(file, 1)
    own = ["--model.backbone", "dino_vits16", "--model.backbone_checkpoint", str(file), "--trainer.accelerator", "cpu"]
    assert main(["fit", *SMALL, *own]) == 0
    images = torch.randn(1, 3, 32, 32)
    before = segtricks.load_run("x").soft_masks(images)
    cached = tmp_path / "cache/segtricks/weights/dino_vits16.safetensors"
    cached.parent.mkdir(parents=True)
    file.rename(cached)
    assert torch.equal(segtricks.load_run("x").soft_masks(images), before)
    _write_weights(cached, 2)
    with pytest.raises(UserError, match=r"weights\.safetensors of the run are gone.*\n.*--model\.backbone_checkpoint"):
        segtricks.load_run("x")


def test_photographs_are_seen_at_the_test_size_unless_another_size_is_asked_for(tmp_path, monkeypatch, drawn):
    monkeypatch.chdir(tmp_path)
    assert main(["fit", *SMALL, "--data.test_size", "64", "--trainer.accelerator", "cpu"]) == 0

    def masks(name, *words):
        assert main(["predict", "--run", "runs/x", "--images", str(drawn), "--output", name, *words]) == 0
        return [path.read_bytes() for path in sorted((tmp_path / name / "soft").glob("*.png"))]

    def scores(*words):
        assert main(["test", "--run", "runs/x", "--data", "synthetic[14:18]", *words]) == 0
        result = json.loads((tmp_path / "runs/x/test/synthetic-14-18.json").read_text())
        return result["metrics"] | {"size": result["source"]["size"]}

    at_test_size, at_size = masks("a"), masks("b", "--data.size", "32")
    assert at_test_size == masks("c", "--data.size", "64") == masks("d", "--data.test_size", "64")
    assert at_size == masks("e", "--data.test_size", "32") != at_test_size
    assert scores() == scores("--data.size", "64") != scores("--data.size", "32")
    assert segtricks.load_run("x").input_size == 64
    assert main(["predict", "--run", "runs/x", "--images", str(drawn), "--output", "a", "--data.size", "32"]) == 2


@pytest.mark.parametrize(
    ("size", "said"),
    [
        ("0", "data.test_size is 0"),
        ("62", "data.test_size 62 is not a multiple of"),
    ],
)
def test_a_test_size_that_cannot_be_is_refused_before_training(tmp_path, monkeypatch, capsys, size, said):
    monkeypatch.chdir(tmp_path)
    assert main(["fit", *SMALL, "--data.test_size", size]) == 2
    assert said in capsys.readouterr().err
