import numpy as np
import pytest
import torch

from segtricks.losses import query_dice_loss, query_ranking_loss, selfmask_loss


@pytest.fixture
def published(golden) -> dict[str, torch.Tensor]:
    arrays = np.load(golden / "selfmask_losses.npz")
    return {name: torch.from_numpy(np.asarray(value)) for name, value in arrays.items()}


def test_dice_equals_the_first_implementation_on_enlarged_masks(published):
    loss = query_dice_loss(published["masks"], published["target"])
    torch.testing.assert_close(loss[:, -1], published["dice_table"], rtol=0, atol=1e-5)
    torch.testing.assert_close(loss[:2].sum().double(), published["dice_sum"], rtol=1e-5, atol=0)


@pytest.mark.parametrize(("order", "suffix"), [("better_higher", "_intended"), ("published_code", "")])
def test_total_ranking_and_gradients_equal_the_first_implementation(published, order, suffix):
    masks, objectness = published["masks"].requires_grad_(), published["objectness"].requires_grad_()
    loss = selfmask_loss(masks, objectness, published["target"], order)
    loss.total.backward()
    images = len(masks)
    assert loss.dice.item() * images == pytest.approx(published["dice_sum"].item(), rel=1e-5)
    assert loss.ranking.item() * images == pytest.approx(published[f"ranking_sum{suffix}"].item(), rel=1e-5)
    assert loss.total.item() == pytest.approx(published[f"loss{suffix}"].item(), rel=1e-5)
    torch.testing.assert_close(masks.grad, published["grad_masks"], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(objectness.grad, published[f"grad_objectness{suffix}"], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("order", "loss", "gradient"), [("better_higher", 0, [0, 0]), ("published_code", 0.8, [1, -1])]
)
def test_the_right_order_costs_nothing_unless_the_published_code_is_asked_for(order, loss, gradient):
    objectness = torch.tensor([0.9, 0.1], requires_grad=True)
    found = query_ranking_loss(objectness, torch.tensor([0.0, 1.0]), order)
    found.backward()
    assert found.item() == pytest.approx(loss)
    assert objectness.grad.tolist() == gradient


def test_unknown_order_is_refused():
    with pytest.raises(ValueError, match="better_higher or published_code"):
        query_ranking_loss(torch.zeros(2), torch.zeros(2), "worse_higher")


def test_an_image_without_foreground_counts_and_adds_nothing():
    masks, objectness = torch.rand(2, 1, 3, 4, 4), torch.rand(2, 1, 3)
    target = torch.zeros(2, 1, 8, 8)
    target[0, :, 2:5, 2:6] = 1
    both, one = (selfmask_loss(masks[:n], objectness[:n], target[:n]) for n in (2, 1))
    torch.testing.assert_close(both.total, one.total / 2)
