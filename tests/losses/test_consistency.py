import pytest
import torch
from torch.nn.functional import avg_pool2d

from segtricks.losses import multiscale_consistency_loss, self_consistency_loss


def test_self_consistency_equals_the_first_implementation(values):
    loss = self_consistency_loss(values["coarse_mask"], values["fine_mask"])
    torch.testing.assert_close(loss, values["self_consistency"], rtol=1e-5, atol=0)


def test_multiscale_consistency_equals_the_first_implementation(values):
    loss = multiscale_consistency_loss(values["fine_mask"], values["teacher_mask"])
    torch.testing.assert_close(loss, values["multiscale_consistency"], rtol=1e-5, atol=0)


def test_reduction_by_two_is_the_plain_mean_of_the_four_middle_pixels():
    fine = torch.rand(1, 1, 4, 4)
    assert self_consistency_loss(avg_pool2d(fine, 2), fine).item() == pytest.approx(0, abs=1e-12)


def test_self_consistency_moves_both_masks():
    coarse, fine = torch.rand(1, 1, 2, 2, requires_grad=True), torch.rand(1, 1, 8, 8, requires_grad=True)
    self_consistency_loss(coarse, fine).backward()
    assert coarse.grad.abs().sum() > 0
    assert fine.grad.abs().sum() > 0


def test_teacher_gets_no_gradient_and_is_clamped():
    student = torch.full((1, 1, 2, 2), 0.5, requires_grad=True)
    teacher = torch.full((1, 1, 2, 2), 1.5, requires_grad=True)
    loss = multiscale_consistency_loss(student, teacher)
    loss.backward()
    assert loss.item() == pytest.approx((0.5 - 1e-6) ** 2, rel=1e-6)
    assert teacher.grad is None
    assert student.grad.abs().sum() > 0


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match="differ in shape"):
        multiscale_consistency_loss(torch.rand(1, 1, 2, 2), torch.rand(1, 1, 4, 4))
