import pytest
import torch
from torch.nn.functional import interpolate

from segtricks.heads import MaskContrastHead, MaskContrastOutput, MaskContrastViTHead


@pytest.mark.parametrize(("head", "dim"), [(MaskContrastHead(16, 5), 16), (MaskContrastViTHead(24, 5), 24)])
def test_both_outputs_lie_on_the_grid_of_the_features(head, dim):
    embedding, saliency = head(torch.randn(2, dim, 6, 7))
    assert embedding.shape == (2, 5, 6, 7) and saliency.shape == (2, 1, 6, 7)
    with pytest.raises(ValueError, match=rf"\(B, {dim}, h, w\)"):
        head(torch.randn(2, dim + 1, 6, 7))


def test_published_size_has_the_published_number_of_parameters():
    assert sum(parameter.numel() for parameter in MaskContrastHead().parameters()) == 39_641_952 - 23_508_032


def test_the_head_for_a_vit_is_as_proposed():
    """Independent of the batch, unlike batch norm, and with 3x3 pixels of context."""
    head = MaskContrastViTHead(8, 4)
    features = torch.randn(3, 8, 9, 9)
    torch.testing.assert_close(head(features).embedding[:1], head(features[:1]).embedding)
    assert sum(parameter.numel() for parameter in head.parameters()) == (
        (8 * 256 + 256) + 2 * 256 + (256 * 256 * 9 + 256) + 2 * 256 + (256 * 4 + 4) + 256
    )


def test_enlarging_is_bilinear():
    output = MaskContrastOutput(torch.randn(1, 3, 4, 5), torch.randn(1, 1, 4, 5))
    large = output.enlarged(8, 15)
    for small, found in zip(output, large, strict=True):
        torch.testing.assert_close(found, interpolate(small, (8, 15), mode="bilinear"))
