import pytest
import torch
from torch.nn.functional import interpolate

from segtricks.heads import SempartHead


@pytest.mark.parametrize(("patch_size", "parameters"), [(8, 748_165), (16, 899_461)])
def test_parameter_count_is_the_published_one(patch_size, parameters):
    assert sum(p.numel() for p in SempartHead(384, patch_size).parameters()) == parameters


@pytest.mark.parametrize("patch_size", [2, 4, 8, 14, 16])
def test_masks_have_the_sizes_of_image_and_grid_for_any_patch(patch_size):
    head = SempartHead(12, patch_size, hidden_dim=8)
    output = head(torch.randn(2, 12, 3, 5), torch.randn(2, 3, 3 * patch_size, 5 * patch_size))
    assert output.fine.shape == (2, 1, 3 * patch_size, 5 * patch_size)
    assert output.coarse.shape == (2, 1, 3, 5)


def test_fine_mask_sees_the_image_and_coarse_mask_does_not():
    head = SempartHead(12, 4, hidden_dim=8).eval()
    features, image = torch.randn(1, 12, 3, 3), torch.randn(1, 3, 12, 12)
    first, second = head(features, image), head(features, -image)
    torch.testing.assert_close(first.coarse, second.coarse)
    assert (first.fine - second.fine).abs().max() > 1e-4


def test_without_a_fine_part_the_mask_is_the_coarse_one_enlarged():
    head = SempartHead(12, 4, hidden_dim=8, fine=False)
    output = head(torch.randn(2, 12, 3, 5), torch.randn(2, 3, 12, 20))
    expected = interpolate(output.coarse, (12, 20), mode="bilinear")
    torch.testing.assert_close(output.fine, expected)
    assert not any("blocks" in name or "fine" in name for name, _ in head.named_parameters())


def test_tokens_are_not_told_their_position():
    head = SempartHead(12, 4, hidden_dim=8).eval()
    features = torch.randn(1, 12, 3, 3)
    order = torch.randperm(9)
    shuffled = features.flatten(2)[:, :, order].unflatten(2, (3, 3))
    expected = head.encode(features)[1].flatten(2)[:, :, order]
    torch.testing.assert_close(head.encode(shuffled)[1].flatten(2), expected)


def test_image_of_another_size_than_the_grid_is_refused():
    with pytest.raises(ValueError, match="24x24 pixels, got 32x24"):
        SempartHead(12, 8)(torch.randn(1, 12, 3, 3), torch.randn(1, 3, 32, 24))


def test_features_of_another_backbone_are_refused():
    with pytest.raises(ValueError, match="384, h, w"):
        SempartHead()(torch.randn(1, 768, 3, 3), torch.randn(1, 3, 24, 24))


def test_batch_norm_of_one_batch_does_not_depend_on_another():
    head = SempartHead(12, 2, hidden_dim=8).train()
    features, image = torch.randn(4, 12, 4, 4), torch.randn(4, 3, 8, 8)
    together = head(features, image).fine[:2]
    alone = head(features[:2], image[:2]).fine
    assert (together - alone).abs().max() > 1e-3, "train mode uses the statistics of the batch it is given"
