import pytest
import torch
from torch.nn.functional import interpolate
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from segtricks.losses import affinity, normalized_cut, normalized_cut_loss


@pytest.mark.parametrize(("tau", "name"), [(0.4, "ncut"), (0.2, "ncut_tau02")])
def test_equals_the_first_implementation(values, tau, name):
    loss = normalized_cut_loss(values["features"], values["coarse_mask"], tau=tau)
    torch.testing.assert_close(loss, values[name], rtol=1e-5, atol=0)


def test_affinity_thresholds_the_cosine_and_keeps_the_diagonal():
    features = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 2.0]]).T.reshape(1, 2, 1, 3)
    expected = torch.tensor([[[1.0, 1.0, 0.1], [1.0, 1.0, 1.0], [0.1, 1.0, 1.0]]])
    torch.testing.assert_close(affinity(features, tau=0.5, eps=0.1), expected)


def test_two_blocks_cut_by_hand():
    # Patches 0, 1 alike and 2, 3 alike: the cut of {0, 1} crosses four edges of weight eps.
    features = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]).T.reshape(1, 2, 2, 2)
    mask = torch.tensor([1.0, 1.0, 0.0, 0.0]).reshape(1, 1, 2, 2)
    eps = 0.5
    expected = 2 * 4 * eps / (2 * (2 + 2 * eps))
    assert normalized_cut_loss(features, mask, eps=eps).item() == pytest.approx(expected, rel=1e-4)


def test_inverting_the_mask_changes_nothing(values):
    loss = normalized_cut_loss(values["features"], values["coarse_mask"])
    torch.testing.assert_close(normalized_cut_loss(values["features"], 1 - values["coarse_mask"]), loss)


def test_gradient_equals_finite_differences_and_stays_out_of_the_features():
    features = torch.randn(1, 6, 2, 3, requires_grad=True)
    mask = torch.rand(1, 1, 2, 3).clamp(0.2, 0.8).requires_grad_()
    normalized_cut_loss(features, mask).backward()
    assert features.grad is None
    step = 1e-3
    for i in range(6):
        moved = [mask.detach().clone() for _ in range(2)]
        moved[0].view(-1)[i] += step
        moved[1].view(-1)[i] -= step
        up, down = (normalized_cut_loss(features, m) for m in moved)
        assert mask.grad.view(-1)[i].item() == pytest.approx((up - down).item() / (2 * step), abs=2e-3)


def test_all_foreground_and_all_background_are_finite():
    features = torch.randn(2, 6, 3, 3)
    for value in (0.0, 1.0):
        mask = torch.full((2, 1, 3, 3), value, requires_grad=True)
        loss = normalized_cut_loss(features, mask)
        loss.backward()
        assert torch.isfinite(loss)
        assert torch.isfinite(mask.grad).all()


def test_autocast_does_not_move_the_threshold(values):
    with torch.autocast("cpu", torch.bfloat16):
        loss = normalized_cut_loss(values["features"], values["coarse_mask"])
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, values["ncut"], rtol=1e-5, atol=0)


def test_mask_of_another_grid_is_refused():
    with pytest.raises(ValueError, match="on the grid of the features"):
        normalized_cut_loss(torch.randn(1, 4, 3, 3), torch.rand(1, 1, 6, 6))


def dense(features, mask):
    """The definition on the whole affinity, in float64, with autograd's gradient."""
    weights, c = affinity(features).double(), mask.double().flatten(1).clamp(1e-6, 1 - 1e-6)
    cut = torch.einsum("bi,bij,bj->b", c, weights, 1 - c)
    return (cut / torch.einsum("bi,bij->b", c, weights) + cut / torch.einsum("bi,bij->b", 1 - c, weights)).mean()


def random_graph(side):
    smooth = interpolate(torch.randn(2, 33, 5, 5), (side, side), mode="bilinear")
    features = smooth[:, 1:] + 0.3 * torch.randn(2, 32, side, side)
    return features, smooth[:, :1].mul(4).sigmoid().requires_grad_()


@pytest.mark.parametrize("block", [2**25, 7_000, 1])
def test_blocks_of_any_size_give_the_value_and_gradient_of_the_whole_affinity(block, monkeypatch):
    side = 40 if block > 1 else 6
    features, mask = random_graph(side)
    expected = dense(features, mask)
    (gradient,) = torch.autograd.grad(expected, mask)
    monkeypatch.setattr(normalized_cut, "BLOCK", block)
    loss = normalized_cut_loss(features, mask)
    loss.backward()
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=0)
    assert (mask.grad - gradient).abs().max() < 1e-5 * gradient.abs().max()


def test_no_tensor_of_the_loss_is_larger_than_a_block(monkeypatch):
    features, mask = random_graph(40)
    largest = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            largest = max([largest, *(x.numel() for x in tree_leaves(out) if isinstance(x, torch.Tensor))])
            return out

    monkeypatch.setattr(normalized_cut, "BLOCK", 2**18)
    with Watch():
        normalized_cut_loss(features, mask).backward()
    assert features.numel() < largest <= 2**18
