import torch

from segtricks.pseudo_labels.steady import Steady


def frame(value, size=(3, 48, 64)):
    return torch.full(size, value, dtype=torch.uint8)


def test_each_mask_is_the_average_of_those_before_it():
    steady, masks = Steady(0.8), torch.rand(4, 1, 48, 64)
    found = [steady(mask, frame(100)) for mask in masks]
    weights = torch.tensor([0.8**3, 0.2 * 0.8**2, 0.2 * 0.8, 0.2])
    assert torch.allclose(found[-1], (weights[:, None, None, None] * masks).sum(0), atol=1e-6)
    assert torch.equal(found[0], masks[0])


def test_it_starts_again_at_a_cut_and_where_the_size_changes():
    steady, mask = Steady(0.8), torch.ones(1, 48, 64)
    steady(torch.zeros(1, 48, 64), frame(100))
    assert torch.allclose(steady(mask, frame(120)), 0.2 * mask), "a little more light is no cut"
    assert torch.equal(steady(mask, frame(200)), mask)
    assert torch.equal(steady(torch.ones(1, 40, 64), frame(200, (3, 40, 64))), torch.ones(1, 40, 64))


def test_a_moving_object_of_the_frame_is_no_cut():
    steady, mask = Steady(0.5), torch.ones(1, 48, 64)
    one, other = frame(40), frame(40)
    one[:, 10:20, 10:20] = other[:, 10:20, 14:24] = 250
    steady(0 * mask, one)
    assert torch.allclose(steady(mask, other), 0.5 * mask)
