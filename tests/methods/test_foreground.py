import pytest
import torch

from segtricks.methods import Sempart
from segtricks.methods.foreground import ForegroundSign


def framed(inside, border, count=1):
    mask = torch.full((count, 1, 20, 20), float(border))
    mask[..., 1:-1, 1:-1] = inside
    return mask


def test_nothing_is_inverted_before_any_vote():
    sign = ForegroundSign()
    mask = torch.rand(2, 1, 8, 8)
    assert not sign.known and torch.equal(sign.orient(mask), mask)


def test_masks_that_cover_the_borders_are_turned_over_all_of_them():
    sign = ForegroundSign()
    sign.count(torch.cat([framed(0, 1, 3), framed(1, 0, 1)]))
    assert sign.known and sign.inverted
    for mask in (framed(0.2, 0.9), framed(0.9, 0.2)):
        torch.testing.assert_close(sign.orient(mask), 1 - mask)


def test_a_sign_that_changes_in_training_is_followed():
    sign = ForegroundSign()
    for _ in range(200):
        sign.count(framed(0, 1, 4))
    for _ in range(40):
        sign.count(framed(1, 0, 4))
    assert not sign.inverted


@pytest.fixture
def module():
    torch.manual_seed(0)
    return Sempart(backbone="descriptor", hidden_dim=8).eval()


def test_soft_masks_of_a_module_are_foreground_and_its_sign_is_in_the_checkpoint(module):
    images = torch.randn(1, 3, 32, 32)
    before = module.soft_masks(images)
    module.sign.count(framed(0, 1))
    torch.testing.assert_close(module.soft_masks(images), 1 - before)
    assert module.state_dict()["sign.votes"].tolist() == [1, 0]


def test_a_checkpoint_of_before_the_sign_was_kept_loads_with_the_modules_own(module):
    module.sign.count(framed(0, 1))
    state = {name: tensor for name, tensor in module.state_dict().items() if name != "sign.votes"}
    checkpoint = {"state_dict": state, "segtricks": module.identity(), "optimizer_states": [], "lr_schedulers": []}
    module.on_load_checkpoint(checkpoint)
    module.load_state_dict(checkpoint["state_dict"])
    assert module.sign.inverted
