import pytest
import torch

from segtricks.errors import UserError
from segtricks.methods.checkpoints import freeze_out, thaw_in

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


def test_checkpoint_of_another_backbone_and_patch_size_names_both():
    other = HERE | {"backbone": "dino_vits16", "patch_size": 16}
    with pytest.raises(UserError, match=r"backbone 'dino_vits16' \(here 'dino_vits8'\), patch_size 16 \(here 8\)"):
        thaw_in(saved(other), HERE, {})


def test_foreign_checkpoint_says_what_it_holds():
    with pytest.raises(UserError, match="it holds weights, epoch"):
        thaw_in({"weights": 1, "epoch": 2}, HERE, {})
