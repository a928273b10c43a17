import random

import numpy as np
import pytest
import torch

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
