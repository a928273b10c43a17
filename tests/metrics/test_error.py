import torch

from segtricks.metrics import MeanAbsoluteError


def test_is_the_mean_over_images_and_not_over_pixels_of_all_of_them():
    score = MeanAbsoluteError()
    score.update(torch.tensor([0.5, 1.0]).reshape(1, 1, 1, 2), torch.tensor([0, 1]).reshape(1, 1, 1, 2))
    score.update(torch.ones(1, 1, 4, 4), torch.zeros(1, 1, 4, 4))
    assert score.compute() == (0.25 + 1) / 2


def test_target_of_0_to_255_is_cut_before_the_difference():
    score = MeanAbsoluteError()
    score.update(torch.tensor([0.0, 1.0]).reshape(1, 1, 1, 2), torch.tensor([127, 128]).reshape(1, 1, 1, 2))
    assert score.compute() == 0
