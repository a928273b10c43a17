import copy

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from segtricks.heads import SempartHead
from segtricks.training.moving_average import MovingAverage


def trained(head):
    with torch.no_grad():
        for value in (*head.parameters(), *head.buffers()):
            if value.is_floating_point():
                value += torch.randn_like(value)


def test_numbers_and_state_are_those_of_torch_also_from_a_loaded_state():
    head = SempartHead(8, 8, 16)
    ours, torchs = MovingAverage(head, 0.9), AveragedModel(head, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    for _ in range(3):
        trained(head)
        ours.update_parameters(head)
        torchs.update_parameters(head)
        torch.testing.assert_close(ours.state_dict(), torchs.state_dict(), rtol=0, atol=0)
    kept, other = copy.deepcopy(torchs.state_dict()), MovingAverage(head, 0.9)
    other.update_parameters(head)
    other.load_state_dict(kept)
    trained(head)
    other.update_parameters(head)
    torchs.update_parameters(head)
    torch.testing.assert_close(other.state_dict(), torchs.state_dict(), rtol=0, atol=0)


def test_the_first_update_after_a_state_that_was_never_updated_copies():
    head = SempartHead(8, 8, 16)
    fresh, average = MovingAverage(head, 0.9), MovingAverage(head, 0.9)
    average.update_parameters(head)
    average.load_state_dict(fresh.state_dict())
    trained(head)
    average.update_parameters(head)
    torch.testing.assert_close(average.module.state_dict(), head.state_dict(), rtol=0, atol=0)


def test_nothing_of_it_is_trained():
    assert not any(parameter.requires_grad for parameter in MovingAverage(SempartHead(8, 8, 16), 0.9).parameters())
