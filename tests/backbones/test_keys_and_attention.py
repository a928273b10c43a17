import pytest
import timm
import torch

from segtricks.backbones import create_backbone
from segtricks.backbones.keys_and_attention import KeysAndAttention
from segtricks.errors import UserError


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    """A ViT of random weights with a file of them."""
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", num_classes=0, dynamic_img_size=True).eval()
    path = tmp_path_factory.mktemp("weights") / "vit.pth"
    torch.save(model.state_dict(), path)
    return model, path


def test_attention_is_that_of_timms_own_last_block(vit):
    model, path = vit
    model.blocks[-1].attn.fused_attn = False  # so that the map passes attn_drop
    maps = []
    hook = model.blocks[-1].attn.attn_drop.register_forward_hook(lambda module, inputs, output: maps.append(output))
    images = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        model.forward_features(images)
    hook.remove()
    _, attention = KeysAndAttention("vit_tiny_patch16_224", checkpoint=path)(images)
    torch.testing.assert_close(attention, maps[0][:, :, 0, 1:], rtol=1e-4, atol=1e-7)
    assert attention.shape == (2, 3, 14 * 14)


def test_keys_are_those_of_the_backbone(vit):
    images = torch.randn(1, 3, 64, 96)
    keys, _ = KeysAndAttention("vit_tiny_patch16_224", checkpoint=vit[1])(images)
    torch.testing.assert_close(keys, create_backbone("vit_tiny_patch16_224", checkpoint=vit[1])(images))


def test_a_backbone_without_attention_is_refused_with_what_to_take():
    with pytest.raises(UserError, match="'descriptor' has no class token"):
        KeysAndAttention("descriptor")
