import torch

from segtricks.backbones.padding import pad_to_patches


def test_zeros_come_right_and_below_up_to_whole_patches():
    images = torch.randn(1, 3, 45, 64)
    padded = pad_to_patches(images, 8)
    assert padded.shape == (1, 3, 48, 64)
    assert torch.equal(padded[..., :45, :], images)
    assert not padded[..., 45:, :].any()
