import argparse
import pickle
from pathlib import Path

import pytest
import safetensors.torch
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from segtricks.backbones.weights import load_checkpoint, read_weights
from segtricks.errors import UserError

from .vit_references import random_images, small_dinov3, small_vit


def blank() -> VisionTransformer:
    return VisionTransformer(
        img_size=32, patch_size=8, embed_dim=32, depth=3, num_heads=2, num_classes=0, dynamic_img_size=True
    )


def prefixed(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in state.items()}


HEAD = {"head.mlp.0.weight": torch.zeros(4, 32), "head.last_layer.weight_g": torch.zeros(4, 1)}
ARGS = argparse.Namespace(arch="vit_small", lr=5e-4, output_dir="/tmp/dino")
LAYOUTS = {
    "DINO's backbone file": lambda state: state,
    "DINO's full checkpoint": lambda state: {
        "student": prefixed(small_vit().state_dict(), "module.backbone.") | prefixed(HEAD, "module."),
        "teacher": prefixed(state, "backbone.") | HEAD,
        "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]},
        "epoch": 100,
        "args": ARGS,
    },
    "iBOT's checkpoint_teacher": lambda state: {
        "state_dict": prefixed(state, "module.backbone.")
        | prefixed(HEAD, "module.")
        | {"masked_embed": torch.zeros(1, 32)}
    },
    "iBOT's state_dict without prefixes": lambda state: {"state_dict": state | {"masked_embed": torch.zeros(1, 32)}},
    "a classifier of timm": lambda state: state | {"head.weight": torch.zeros(10, 32), "head.bias": torch.zeros(10)},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout_loads_every_weight(layout: str, tmp_path: Path) -> None:
    original, model = small_vit(), blank()
    torch.save(LAYOUTS[layout](original.state_dict()), tmp_path / "weights.pth")
    load_checkpoint(model, tmp_path / "weights.pth", "small")
    for key, value in original.state_dict().items():
        torch.testing.assert_close(model.state_dict()[key], value, atol=0, rtol=0)


def test_safetensors_load_every_weight(tmp_path: Path) -> None:
    original, model = small_vit(), blank()
    safetensors.torch.save_file(original.state_dict(), tmp_path / "model.safetensors")
    load_checkpoint(model, str(tmp_path / "model.safetensors"), "small")
    torch.testing.assert_close(model.pos_embed, original.pos_embed, atol=0, rtol=0)


def test_metas_dinov2_with_registers_gives_the_model_it_was_made_from(tmp_path: Path) -> None:
    original = small_vit(reg_tokens=4, no_embed_class=True, init_values=0.1)
    official = dict(original.state_dict())
    class_position = torch.randn(1, 1, 32)
    official["register_tokens"] = official.pop("reg_token")
    official["cls_token"] = official["cls_token"] - class_position
    official["pos_embed"] = torch.cat([class_position, official["pos_embed"]], dim=1)
    official["mask_token"] = torch.zeros(1, 32)
    torch.save(official, tmp_path / "dinov2_vits14_reg4_pretrain.pth")
    model = small_vit(reg_tokens=4, no_embed_class=True, init_values=0.5)
    load_checkpoint(model, tmp_path / "dinov2_vits14_reg4_pretrain.pth", "dinov2_vits14_reg")
    images = random_images(32, 32)
    torch.testing.assert_close(model.forward_features(images), original.forward_features(images), atol=1e-5, rtol=1e-5)


def official_dinov3(state: dict[str, Tensor], bias: float) -> dict[str, Tensor]:
    names = {"reg_token": "storage_tokens", "gamma_1": "ls1.gamma", "gamma_2": "ls2.gamma"}
    official = {}
    for key, value in state.items():
        for ours, theirs in names.items():
            key = key.replace(ours, theirs)
        official[key] = value
    for block in range(2):
        key_bias = torch.full((32,), 7.0)  # masked out in the original, so it must not count
        official[f"blocks.{block}.attn.qkv.bias"] = torch.cat([torch.full((32,), bias), key_bias, torch.zeros(32)])
        official[f"blocks.{block}.attn.qkv.bias_mask"] = torch.zeros(96)
    return official | {"mask_token": torch.zeros(1, 32), "rope_embed.periods": torch.zeros(8)}


def test_metas_dinov3_gives_the_model_it_was_made_from(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    original, model = small_dinov3(), small_dinov3(init_values=0.5)
    torch.save(official_dinov3(original.state_dict(), bias=0.0), tmp_path / "dinov3.pth")
    load_checkpoint(model, tmp_path / "dinov3.pth", "dinov3_vits16")
    images = random_images(32, 48)
    torch.testing.assert_close(model.forward_features(images), original.forward_features(images), atol=1e-5, rtol=1e-5)
    assert capsys.readouterr().out == ""


def test_dinov3_biases_that_the_model_has_no_room_for_are_an_error_and_not_dropped(tmp_path: Path) -> None:
    torch.save(official_dinov3(small_dinov3().state_dict(), bias=0.3), tmp_path / "dinov3.pth")
    with pytest.raises(UserError, match="_qkvb"):
        load_checkpoint(small_dinov3(), tmp_path / "dinov3.pth", "dinov3_vits16")


def test_missing_and_unexpected_keys_are_named_and_counted(tmp_path: Path) -> None:
    state = small_vit().state_dict()
    del state["norm.weight"], state["cls_token"]
    torch.save(state | {"blocks.0.extra": torch.zeros(1)}, tmp_path / "weights.pth")
    with pytest.raises(UserError) as error:
        load_checkpoint(blank(), tmp_path / "weights.pth", "small")
    message = str(error.value)
    assert "2 keys missing (cls_token, norm.weight)" in message
    assert "1 keys unexpected (blocks.0.extra)" in message
    assert "weights.pth" in message and len(message.splitlines()) == 2


@pytest.mark.parametrize("extra", [{}, {"mask_token": torch.zeros(1, 32)}], ids=["plain", "DINOv2's layout"])
def test_another_patch_size_is_refused_and_named_as_the_cause(extra: dict, tmp_path: Path) -> None:
    torch.save(small_vit(patch_size=16).state_dict() | extra, tmp_path / "weights.pth")
    with pytest.raises(UserError, match="16 px patches and width 32, the model has 8 px and 32"):
        load_checkpoint(blank(), tmp_path / "weights.pth", "small")


def test_dinov3_of_another_patch_size_is_refused_and_not_resampled_silently(tmp_path: Path) -> None:
    torch.save(official_dinov3(small_dinov3(patch_size=8).state_dict(), bias=0.0), tmp_path / "dinov3.pth")
    with pytest.raises(UserError, match=r"patch_embed\.proj\.weight 32x3x8x8 for 32x3x16x16"):
        load_checkpoint(small_dinov3(), tmp_path / "dinov3.pth", "dinov3_vits16")


def test_another_depth_is_refused_instead_of_leaving_random_blocks(tmp_path: Path) -> None:
    torch.save(small_vit(depth=2).state_dict(), tmp_path / "weights.pth")
    with pytest.raises(UserError, match=r"12 keys missing \(blocks\.2\.norm1\.weight"):
        load_checkpoint(blank(), tmp_path / "weights.pth", "small")


@pytest.mark.parametrize("extra", [{}, {"mask_token": torch.zeros(1, 32)}], ids=["plain", "DINOv2's layout"])
def test_positions_of_another_grid_are_refused_and_not_resized_silently(extra: dict, tmp_path: Path) -> None:
    torch.save(small_vit(img_size=48).state_dict() | extra, tmp_path / "weights.pth")
    with pytest.raises(UserError, match="pos_embed 1x37x32 for 1x17x32"):
        load_checkpoint(blank(), tmp_path / "weights.pth", "small")


def test_a_file_that_does_not_fit_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    model = blank()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    torch.save(small_vit(depth=2).state_dict(), tmp_path / "weights.pth")
    with pytest.raises(UserError):
        load_checkpoint(model, tmp_path / "weights.pth", "small")
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


class Malicious:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_a_pickle_with_code_is_refused_and_never_run(writer: str, tmp_path: Path) -> None:
    marker, path = tmp_path / "marker", tmp_path / "weights.pth"
    content = {"state_dict": {"cls_token": torch.zeros(1)}, "args": Malicious(marker)}
    if writer == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps({"args": Malicious(marker)}, protocol=2))
    with pytest.raises(UserError, match="was not run"):
        read_weights(path)
    assert not marker.exists()
    torch.load(path, weights_only=False) if writer == "torch" else pickle.loads(path.read_bytes())
    assert marker.exists(), "the file was harmless: the test proves nothing"


def test_missing_file_says_what_to_pass(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.pth does not exist(?s:.*)--model\.backbone_checkpoint FILE"):
        read_weights(tmp_path / "none.pth")


def test_folder_is_not_a_weight_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a folder"):
        read_weights(tmp_path)


def test_empty_file_is_said_to_be_empty(tmp_path: Path) -> None:
    (tmp_path / "weights.pth").touch()
    with pytest.raises(UserError, match="empty"):
        read_weights(tmp_path / "weights.pth")


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_truncated_file_cannot_be_read(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if path.suffix == ".pth":
        torch.save(small_vit().state_dict(), path)
    else:
        safetensors.torch.save_file(small_vit().state_dict(), path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match="truncated"):
        read_weights(path)


@pytest.mark.parametrize("content", [b"not a checkpoint", b"<!DOCTYPE html><html>404</html>", b"\x80\x02"])
def test_a_file_of_another_format_cannot_be_read(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "weights.pth").write_bytes(content)
    with pytest.raises(UserError, match="cannot be read"):
        read_weights(tmp_path / "weights.pth")


@pytest.mark.parametrize("content", [{"epoch": 3}, [1, 2], {"teacher": {}}, {"student": {"a": torch.zeros(1)}}])
def test_a_file_without_a_state_dict_says_what_it_holds(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(UserError, match="holds no state dict"):
        read_weights(tmp_path / "weights.pth")
