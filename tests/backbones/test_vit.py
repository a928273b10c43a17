import copy

import pytest
import timm
import torch
import torch.nn.functional as F
from timm.models.eva import EvaBlock
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from segtricks.backbones.vit import QKVSlice, ViTBackbone
from segtricks.errors import UserError

from .vit_references import as_map, random_images, scramble, small_dinov3, small_vit

FEATURES = ["key", "query", "value", "token"]
PART = {"query": 0, "key": 1, "value": 2}


@pytest.fixture(scope="module")
def tiny() -> nn.Module:
    return scramble(timm.create_model("vit_tiny_patch16_224", num_classes=0, dynamic_img_size=True))


@pytest.fixture(scope="module")
def dinov2_registers() -> nn.Module:
    return scramble(timm.create_model("vit_small_patch14_reg4_dinov2", num_classes=0, dynamic_img_size=True))


@pytest.fixture(scope="module")
def dinov3_with_bias() -> nn.Module:
    return scramble(timm.create_model("vit_small_patch16_dinov3_qkvb", num_classes=0, dynamic_img_size=True))


@pytest.fixture(scope="module")
def dinov3_without_bias() -> nn.Module:
    return small_dinov3()


def hooked(model: nn.Module, images: Tensor, feature: str, layer: int) -> Tensor:
    """The feature as the untouched model computes it on its way, seen by a hook."""
    seen: list[Tensor] = []
    block = model.blocks[layer]
    hook = (lambda module, inputs, output: seen.append(output)) if feature == "token" else None
    if feature == "token":
        handle = block.register_forward_hook(hook)
    elif getattr(block.attn, "q_bias", None) is not None:  # timm applies this projection without calling it
        attention = block.attn
        bias = torch.cat([attention.q_bias, torch.zeros_like(attention.q_bias), attention.v_bias])
        handle = attention.register_forward_pre_hook(
            lambda module, inputs: seen.append(F.linear(inputs[0], attention.qkv.weight, bias))
        )
    else:
        handle = block.attn.qkv.register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.no_grad():
        model.forward_features(images)
        handle.remove()
        tokens = model.norm(seen[0]) if feature == "token" else seen[0].chunk(3, dim=-1)[PART[feature]]
    patch = model.patch_embed.patch_size[0]
    return as_map(tokens, model.num_prefix_tokens, images.shape[2] // patch, images.shape[3] // patch)


@pytest.mark.parametrize("layer", [-1, 11, 5, -12])
@pytest.mark.parametrize("feature", FEATURES)
def test_vit_tiny_features_equal_a_hook_on_the_untouched_model(tiny: nn.Module, feature: str, layer: int) -> None:
    images = random_images(64, 96)
    expected = hooked(tiny, images, feature, layer)
    backbone = ViTBackbone(copy.deepcopy(tiny), "tiny", 0.4, feature, layer, pos_interp="timm")
    assert (backbone.patch_size, backbone.feature_dim, backbone.tau) == (16, 192, 0.4)
    torch.testing.assert_close(backbone(images), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("feature", FEATURES)
def test_dino_positions_change_nothing_on_the_trained_grid(tiny: nn.Module, feature: str) -> None:
    images = random_images(224, 224, batch=1)
    backbone = ViTBackbone(copy.deepcopy(tiny), "tiny", 0.4, feature, pos_interp="dino")
    torch.testing.assert_close(backbone(images), hooked(tiny, images, feature, -1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("feature", "layer"), [("key", -1), ("token", -1), ("query", 3), ("value", 0)])
def test_dinov2_with_registers_drops_all_five_prefix_tokens(
    dinov2_registers: nn.Module, feature: str, layer: int
) -> None:
    images = random_images(28, 56)
    expected = hooked(dinov2_registers, images, feature, layer)
    backbone = ViTBackbone(copy.deepcopy(dinov2_registers), "reg", 0.4, feature, layer, pos_interp="timm")
    torch.testing.assert_close(backbone(images), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("model", ["dinov3_with_bias", "dinov3_without_bias"])
@pytest.mark.parametrize("feature", FEATURES)
@pytest.mark.parametrize("pos_interp", ["dino", "timm"])
def test_dinov3_features_are_taken_before_the_rotation(
    model: str, feature: str, pos_interp: str, request: pytest.FixtureRequest
) -> None:
    untouched = request.getfixturevalue(model)
    images = random_images(48, 80)
    backbone = ViTBackbone(copy.deepcopy(untouched), model, 0.4, feature, pos_interp=pos_interp)
    torch.testing.assert_close(backbone(images), hooked(untouched, images, feature, -1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("feature", ["key", "query", "value"])
@pytest.mark.parametrize(
    "block",
    [
        Block(32, 2, qkv_bias=False, qk_norm=True),
        Block(32, 2, qkv_bias=True, init_values=0.1),
        EvaBlock(32, 2, qkv_fused=False, qk_norm=True),
        EvaBlock(32, 2, attn_type="rope", qkv_bias=True),
    ],
    ids=["qk norm", "layer scale", "eva unfused", "rope attention"],
)
def test_slice_is_what_the_block_hands_to_its_attention(
    block: nn.Module, feature: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scramble(block)
    tokens = torch.randn(2, 9, 32, generator=torch.Generator().manual_seed(2))
    handed: list[Tensor] = []
    attend = F.scaled_dot_product_attention

    def spy(query: Tensor, key: Tensor, value: Tensor, **options: object) -> Tensor:
        handed.extend([query, key, value])
        return attend(query, key, value, **options)

    monkeypatch.setattr(F, "scaled_dot_product_attention", spy)
    with torch.no_grad():
        block(tokens)
        expected = handed[PART[feature]].transpose(1, 2).flatten(2)
        torch.testing.assert_close(QKVSlice(block, feature)(tokens, rope=None), expected, atol=1e-5, rtol=1e-5)


def test_nothing_beyond_the_wanted_keys_is_computed() -> None:
    width, patches = 32, 16
    tokens = patches + 1

    def flops(feature: str, layer: int) -> int:
        backbone = ViTBackbone(small_vit(), "small", 0.4, feature, layer)
        with FlopCounterMode(display=False) as counter:
            backbone(random_images(32, 32, batch=1))
        return counter.get_total_flops()

    embedding = 2 * patches * width * 3 * 8 * 8
    one_projection = 2 * tokens * width * width
    whole_block = flops("token", 1) - flops("token", 0)
    assert flops("key", 0) == embedding + one_projection
    assert flops("value", 2) == embedding + 2 * whole_block + one_projection


@pytest.mark.parametrize("build", [small_vit, small_dinov3])
@pytest.mark.parametrize("feature", ["key", "token"])
def test_autocast_channels_last_dtype_and_copies_give_the_same_features(build, feature: str) -> None:
    backbone = ViTBackbone(build(), "small", 0.4, feature)
    images = random_images(48, 80)
    expected = backbone(images)
    assert expected.is_contiguous()
    twin = copy.deepcopy(backbone)
    torch.testing.assert_close(twin(images.to(memory_format=torch.channels_last)), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(twin.double()(images.double()).float(), expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(backbone(images), expected, atol=0, rtol=0)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = backbone(images)
    low = copy.deepcopy(backbone).bfloat16()(images)
    assert low.dtype == torch.bfloat16
    for rounded in (mixed, low):
        assert F.cosine_similarity(rounded.float(), expected).min() > 0.99


def test_layer_out_of_range_names_the_legal_range() -> None:
    for layer in (3, -4):
        with pytest.raises(UserError, match=f"layer {layer} .*-3 to 2"):
            ViTBackbone(small_vit(), "small", 0.4, layer=layer)


def test_blocks_without_plain_attention_are_refused_by_name() -> None:
    model = timm.create_model("vit_tiny_patch16_224", block_fn=timm.models.vision_transformer.ParallelThingsBlock)
    with pytest.raises(UserError, match="ParallelThingsBlock"):
        ViTBackbone(model, "parallel", 0.4)


def test_a_thawed_backbone_gives_gradients_to_its_last_blocks_alone():
    backbone = ViTBackbone(small_vit(), "small", 0.0, "token").requires_grad_(False)
    images = random_images(32, 32)
    assert not backbone(images).requires_grad
    backbone.thaw(1)
    backbone(images).sum().backward()
    trained = {name.rpartition(".")[0] for name, part in backbone.named_parameters() if part.grad is not None}
    last = len(backbone.model.blocks) - 1
    assert {name.split(".")[1] for name in trained} == {"blocks", "norm"}
    assert {name.split(".")[2] for name in trained if "blocks" in name} == {str(last)}
    backbone.thaw()
    assert all(part.requires_grad for part in backbone.parameters())
    with pytest.raises(UserError, match="blocks, and 99 of them"):
        backbone.thaw(99)
