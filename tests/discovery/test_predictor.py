import pytest
import torch

from segtricks.backbones import create_backbone
from segtricks.discovery import deep_spectral, lost, maskcut, tokencut
from segtricks.discovery.predictor import Discoverer
from segtricks.errors import UserError


@pytest.mark.parametrize(
    ("method", "function"), [("tokencut", tokencut), ("lost", lost), ("deep_spectral", deep_spectral)]
)
def test_masks_are_those_of_the_method_on_the_backbones_features(method, function):
    images = torch.randn(2, 3, 64, 48, generator=torch.Generator().manual_seed(0))
    expected = function(create_backbone("descriptor")(images)).mask
    assert torch.equal(Discoverer(method, "descriptor")(images), expected)


def test_options_reach_the_method():
    images = torch.randn(1, 3, 64, 48, generator=torch.Generator().manual_seed(0))
    features = create_backbone("descriptor")(images)
    assert torch.equal(Discoverer("tokencut", "descriptor", tau=0.6)(images), tokencut(features, 0.6).mask)
    assert torch.equal(Discoverer("lost", "descriptor", k=3)(images), lost(features, 3).mask)
    several = Discoverer("maskcut", "descriptor", rounds=4, skip_refused=True)(images)
    assert torch.equal(several, maskcut(features, rounds=4, skip_refused=True).masks)


def test_a_head_gives_probabilities_and_smooth_enlargement(tmp_path):
    weight = torch.randn(1, 384, 1, 1)
    torch.save({"decoder": {"weight": weight, "bias": torch.ones(1)}}, tmp_path / "head.pt")
    discoverer = Discoverer("found", "descriptor", head=tmp_path / "head.pt")
    images = torch.randn(1, 3, 32, 32)
    masks = discoverer(images)
    expected = ((create_backbone("descriptor")(images) * weight).sum(1, keepdim=True) + 1).sigmoid()
    torch.testing.assert_close(masks, expected, rtol=0, atol=1e-5)
    assert discoverer.enlarge(masks, (32, 32)).unique().numel() > 16


def test_binary_masks_are_enlarged_patch_by_patch():
    masks = torch.tensor([[0.0, 1.0], [1.0, 0.0]])[None, None]
    expected = masks.repeat_interleave(8, 2).repeat_interleave(8, 3)
    assert torch.equal(Discoverer("tokencut", "descriptor").enlarge(masks, (16, 16)), expected)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "tokenize"}, "Unknown method 'tokenize'. Allowed: tokencut"),
        ({"method": "lost", "head": "h.pt"}, "leave out --head"),
        ({"method": "found"}, "Take a ViT such as dino_vits8"),
    ],
)
def test_what_does_not_go_together_is_refused(options, said):
    with pytest.raises(UserError, match=said):
        Discoverer(backbone="descriptor", **options)
