import socket
import time
from pathlib import Path
from urllib.error import URLError

import huggingface_hub
import pytest
import safetensors.torch
import timm
import torch

from segtricks.backbones import create_backbone, probing
from segtricks.errors import UserError

from .vit_references import random_images, scramble


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing cached, no network, no package with weights; whoever starts the downloader that retries has failed."""

    def unreachable(*_: object, **__: object) -> None:
        raise ConnectionError("Name or service not known")

    def unresolved(*_: object, **__: object) -> None:
        raise URLError(socket.gaierror(-2, "Name or service not known"))

    def forbidden(*_: object, **__: object) -> None:
        pytest.fail("the downloader was started although the probe had failed")

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: None)
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", unreachable)
    monkeypatch.setattr(probing, "urlopen", unresolved)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", forbidden)


@pytest.mark.parametrize("name", ["dino_vits8", "dinov3_vits16", "vit_tiny_patch16_224"])
def test_offline_error_names_the_reason_the_address_and_the_option(name: str, offline: None) -> None:
    start = time.perf_counter()
    with pytest.raises(UserError) as error:
        create_backbone(name)
    assert time.perf_counter() - start < 5
    first, second, third = str(error.value).splitlines()
    assert name in first and "timm's hub: Name or service not known" in first
    assert "https://huggingface.co/timm/vit_" in second and "/resolve/main/model.safetensors" in second
    assert "--model.backbone_checkpoint FILE" in third


def test_offline_error_of_dinov3_names_the_file_that_its_authors_hand_out(offline: None) -> None:
    with pytest.raises(
        UserError, match=r"\(or dinov3_vits16_pretrain_.*\.pth of https://github\.com/facebookresearch/dino"
    ):
        create_backbone("dinov3_vits16")


def test_ibot_asks_for_its_own_file_without_asking_the_hub(offline: None) -> None:
    with pytest.raises(UserError) as error:
        create_backbone("ibot_vits16")
    assert "hub" not in str(error.value)
    assert "/ibot/vits_16/checkpoint_teacher.pth" in str(error.value)
    assert "--model.backbone_checkpoint FILE" in str(error.value)


def test_architecture_without_weights_is_an_error_and_not_a_random_network(offline: None) -> None:
    with pytest.raises(UserError, match="no pretrained weights of 'vit_small_patch16_36x1_224'"):
        create_backbone("vit_small_patch16_36x1_224")


def test_cached_weights_are_used_without_network(
    offline: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model = scramble(timm.create_model("vit_tiny_patch16_224", dynamic_img_size=True))
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file(model.state_dict(), path)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: str(path))
    seen: list[torch.Tensor] = []
    model.blocks[11].attn.qkv.register_forward_hook(lambda module, inputs, output: seen.append(output))
    images = random_images(224, 224, batch=1)
    with torch.no_grad():
        model.forward_features(images)
    keys = seen[0][:, 1:, 192:384].transpose(1, 2).unflatten(2, (14, 14))
    backbone = create_backbone("vit_tiny_patch16_224")
    torch.testing.assert_close(backbone(images), keys, atol=1e-5, rtol=1e-5)
    assert backbone.weights == "timm's hub, timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k"


def test_cached_weights_that_do_not_fit_are_an_error(
    offline: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    state = timm.create_model("vit_tiny_patch16_224").state_dict()
    del state["blocks.11.attn.qkv.weight"]
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file(state, path)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: str(path))
    with pytest.raises(UserError, match="could not get the weights of 'vit_tiny_patch16_224'"):
        create_backbone("vit_tiny_patch16_224")
