import pytest
import torch

from segtricks.errors import UserError
from segtricks.training.checkpoints import check_groups, freeze_out, optimizer_options, prefer_options, thaw_in

HERE = {"method": "Sempart", "backbone": "dino_vits8", "patch_size": 8}


def saved(identity):
    checkpoint = {"state_dict": {"backbone.w": torch.zeros(2), "head.w": torch.ones(2)}}
    freeze_out(checkpoint, identity)
    return checkpoint


def test_frozen_tensors_stay_out_and_come_back_from_the_module():
    checkpoint = saved(HERE)
    assert list(checkpoint["state_dict"]) == ["head.w"]
    thaw_in(checkpoint, HERE, {"backbone.w": torch.full((2,), 7.0), "head.w": torch.zeros(2)})
    assert checkpoint["state_dict"]["backbone.w"].tolist() == [7, 7]
    assert checkpoint["state_dict"]["head.w"].tolist() == [1, 1]


def test_a_backbone_that_is_trained_is_kept_and_not_overwritten():
    checkpoint = {"state_dict": {"backbone.w": torch.zeros(2), "head.w": torch.ones(2)}}
    freeze_out(checkpoint, HERE, ["backbone.w", "head.w"])
    thaw_in(checkpoint, HERE, {"backbone.w": torch.full((2,), 7.0), "head.w": torch.zeros(2)})
    assert checkpoint["state_dict"]["backbone.w"].tolist() == [0, 0]


def test_checkpoint_of_another_backbone_and_patch_size_names_both():
    other = HERE | {"backbone": "dino_vits16", "patch_size": 16}
    with pytest.raises(UserError, match=r"backbone 'dino_vits16' \(here 'dino_vits8'\), patch_size 16 \(here 8\)"):
        thaw_in(saved(other), HERE, {})


def test_foreign_checkpoint_says_what_it_holds():
    with pytest.raises(UserError, match="it holds weights, epoch"):
        thaw_in({"weights": 1, "epoch": 2}, HERE, {})


def test_changed_optimiser_options_beat_the_checkpoint_and_the_schedule_goes_on():
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.AdamW([weight], lr=1.0, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    optimizer.step()
    schedule.step()
    checkpoint = {
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [schedule.state_dict()],
        "optimizer_options": optimizer.defaults,
    }
    prefer_options(checkpoint, torch.optim.AdamW([weight], lr=0.1, betas=(0.9, 0.99), weight_decay=0.5))
    (group,) = checkpoint["optimizer_states"][0]["param_groups"]
    assert group["lr"] == pytest.approx(0.05)
    assert group["weight_decay"] == 0.5
    assert group["betas"] == (0.9, 0.99)
    assert checkpoint["lr_schedulers"][0]["base_lrs"] == [0.1]


def _halved(rates, lr):
    """A checkpoint of two groups, whose schedule has halved their rates."""
    optimizer = _optimizer(rates, lr)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5)
    states = {"optimizer_states": [optimizer.state_dict()], "lr_schedulers": [schedule.state_dict()]}
    return states | optimizer_options(_optimizer(rates, lr))


def _optimizer(rates, lr):
    groups = [{"params": [torch.nn.Parameter(torch.ones(2))], "lr": rate} for rate in rates]
    return torch.optim.SGD(groups, lr=lr)


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize(
    ("before", "now"),
    [
        ((0.2, 0.02), (0.4, 0.04)),  # another rate of all
        ((0.2, 0.02), (0.2, 0.06)),  # another factor of one group
        ((0.2, 0.02), (0.4, 0.02)),
        ((0.2, 0.0), (0.2, 0.02)),
        ((0.2, 0.02), (0.2, 0.0)),
    ],
)
def test_new_rates_of_all_or_of_one_group_go_on_from_where_the_schedule_was(before, now, older):
    checkpoint = _halved(before, before[0])
    if older:
        del checkpoint["optimizer_rates"]
    prefer_options(checkpoint, _optimizer(now, now[0]))
    after = checkpoint["optimizer_states"][0]["param_groups"]
    assert [group["lr"] for group in after] == pytest.approx([rate / 2 for rate in now])
    assert [group["initial_lr"] for group in after] == pytest.approx(now)
    assert checkpoint["lr_schedulers"][0]["base_lrs"] == pytest.approx(now)


def test_an_optimiser_of_other_groups_is_refused_in_words():
    checkpoint = _halved((0.2, 0.02), 0.2)
    check_groups(checkpoint, _optimizer((0.4, 0.1), 0.4))
    with pytest.raises(UserError, match=r"groups of 1 instead of 1, 1\.\nNext: resume with the run's options"):
        check_groups(checkpoint, _optimizer((0.2,), 0.2))


def test_a_new_weight_decay_leaves_groups_alone_that_have_their_own():
    weight, norm = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
    groups = [{"params": [weight]}, {"params": [norm], "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=0.01, weight_decay=5e-5)
    checkpoint = {
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [],
        "optimizer_options": optimizer.defaults,
    }
    prefer_options(checkpoint, torch.optim.SGD(optimizer.param_groups, lr=0.01, weight_decay=1e-4))
    after = checkpoint["optimizer_states"][0]["param_groups"]
    assert [group["weight_decay"] for group in after] == [1e-4, 0]


def test_unchanged_options_leave_the_checkpoint_as_it_is():
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.ones(2))], lr=1.0)
    checkpoint = {
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [],
        "optimizer_options": optimizer.defaults,
    }
    optimizer.param_groups[0]["lr"] = 0.3  # as a schedule left it
    checkpoint["optimizer_states"] = [optimizer.state_dict()]
    prefer_options(checkpoint, torch.optim.AdamW([torch.nn.Parameter(torch.ones(2))], lr=1.0))
    assert checkpoint["optimizer_states"][0]["param_groups"][0]["lr"] == 0.3
