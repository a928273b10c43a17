from functools import partial

import pytest
import torch
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader

from segtricks.errors import UserError
from segtricks.methods import Found, Sempart

NOTHING = {"image": torch.zeros(0, 3, 32, 32), "path": [], "skipped": [("a.jpg", "empty")]}
SOME = {"image": torch.randn(2, 3, 32, 32), "path": ["b.jpg", "c.jpg"], "skipped": []}


def validated(batches):
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    loader = DataLoader(batches, batch_size=None)
    torch.manual_seed(0)
    return trainer.validate(Sempart("descriptor", hidden_dim=8), loader, verbose=False)[0]


def test_nothing_read_of_the_held_out_images_is_said_and_not_called_the_best():
    with pytest.raises(UserError, match="None of the held-out images could be read"):
        validated([NOTHING, NOTHING])


def test_batch_of_which_nothing_was_read_does_not_count_in_the_mean():
    torch.manual_seed(1)
    assert validated([SOME, NOTHING]) == validated([SOME])


def test_terms_that_stand_for_a_process_without_images_are_those_of_the_others():
    for crop in (True, False):
        model = Sempart("descriptor", hidden_dim=8, crop=crop)
        terms, _ = model.loss_terms(SOME["image"], torch.Generator())
        assert {*terms, "loss"} == set(model.loss_names)


@pytest.mark.parametrize(
    "make",
    [
        partial(Sempart, "descriptor", hidden_dim=8, tau=0.3),
        partial(Sempart, "descriptor", hidden_dim=8, tau="share:0.5"),
        partial(Found, "dino_vits16", pretrained=False),
    ],
)
def test_a_learning_rate_that_was_changed_beats_the_checkpoints(make):
    before, now = (make(optimizer=partial(torch.optim.AdamW, lr=lr)) for lr in (0.1, 0.02))
    optimizer = before.new_optimizer()
    checkpoint = {
        "state_dict": before.state_dict(),
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [],
    }
    before.on_save_checkpoint(checkpoint)
    now.on_load_checkpoint(checkpoint)
    assert [group["lr"] for group in checkpoint["optimizer_states"][0]["param_groups"]] == [pytest.approx(0.02)]


def test_everything_that_takes_a_gradient_is_trained_and_nothing_else():
    module = Sempart("descriptor", hidden_dim=8, teacher="ema")
    trained = {id(parameter) for group in module.new_optimizer().param_groups for parameter in group["params"]}
    assert trained == {id(parameter) for parameter in module.head.parameters()}
