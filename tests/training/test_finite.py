import pytest
import torch

from segtricks.errors import UserError
from segtricks.training.finite import FiniteLosses


@pytest.mark.parametrize("bad", ["nan", "inf", "-inf"])
def test_first_bad_step_is_named_with_its_files_when_the_losses_are_read(bad):
    losses = FiniteLosses()
    losses.add(torch.tensor(0.5), 3, ["a.jpg"])
    losses.add(torch.tensor(float(bad)), 4, ["b.jpg", "c.jpg"])
    losses.add(torch.tensor(float("nan")), 5, ["d.jpg"])
    with pytest.raises(UserError, match=rf"became {bad} at step 4, on: b\.jpg, c\.jpg\."):
        losses.read()


def test_finite_losses_are_forgotten_once_they_were_read():
    losses = FiniteLosses()
    for step in range(100):
        losses.add(torch.tensor(1.0, requires_grad=True) * 2, step, ["a.jpg"])
    losses.read()
    assert losses._unread == []
    losses.read()


def test_adding_a_loss_reads_nothing_from_the_device():
    # A tensor without data: whoever reads it fails, as a GPU would have to be waited for.
    FiniteLosses().add(torch.zeros((), device="meta"), 0, ["a.jpg"])
