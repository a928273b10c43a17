import numpy as np
import pytest
import torch

from segtricks.errors import UserError
from segtricks.methods import PrototypeQueue


def test_pushes_equal_the_first_implementation(golden):
    content = np.load(golden / "maskcontrast_losses.npz")
    arrays = {name: torch.from_numpy(np.asarray(value)) for name, value in content.items()}
    queue = PrototypeQueue(*arrays["queue_before"].shape)
    queue.load_state_dict({"entries": arrays["queue_before"], "position": arrays["pointer_before"]})
    queue.push(arrays["prototypes"])
    torch.testing.assert_close(queue.entries, arrays["queue_after"], rtol=0, atol=1e-5)
    assert queue.position == arrays["pointer_after"]


def test_it_starts_with_random_unit_vectors():
    queue = PrototypeQueue(6, 3)
    torch.testing.assert_close(queue.entries.norm(dim=1), torch.ones(6))
    assert len(queue.entries.unique(dim=0)) == 6


def test_pushes_that_do_not_divide_the_length_go_on_at_the_start():
    queue = PrototypeQueue(5, 2)
    rows = torch.arange(16.0).reshape(8, 2)
    for start, stop in ((0, 3), (3, 6), (6, 6), (6, 8)):
        queue.push(rows[start:stop])
    assert torch.equal(queue.entries, rows[[5, 6, 7, 3, 4]])
    assert queue.position == 3


def test_more_keys_than_places_are_refused_with_a_length_that_fits():
    with pytest.raises(UserError, match=r"--model\.queue 8"):
        PrototypeQueue(3, 2).push(torch.zeros(4, 2))
