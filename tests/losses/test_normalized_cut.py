import pytest
import torch

from segtricks.losses import affinity, normalized_cut_loss


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
