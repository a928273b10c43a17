import re
from pathlib import Path

import pytest
import timm
import torch
from timm.models import is_model_in_modules

from segtricks.backbones.registry import PRETRAINED, RESNETS


@pytest.mark.parametrize("name", [name for name in PRETRAINED if name not in RESNETS])
def test_short_name_stands_for_a_timm_vit_of_its_patch_size_and_size_letter(name: str) -> None:
    timm_name = PRETRAINED[name].timm_name
    assert is_model_in_modules(timm_name, ["vision_transformer", "eva"])
    size, patch = re.search(r"vit([sbl])(\d+)", name).groups()
    assert f"patch{patch}" in timm_name
    assert {"s": "small", "b": "base", "l": "large"}[size] in timm_name
    assert ("reg" in name) == ("reg4" in timm_name)


@pytest.mark.parametrize("name", PRETRAINED)
def test_weights_are_on_timms_hub_or_have_an_address(name: str) -> None:
    entry = PRETRAINED[name]
    assert entry.on_hub or entry.url
    assert entry.url is None or entry.url.endswith(f"/{entry.official}")
    if entry.on_hub:
        cfg = timm.get_pretrained_cfg(entry.timm_name)
        assert cfg.hf_hub_id == entry.hub_id
        assert cfg.hf_hub_filename is None
        assert cfg.license.split("-")[0] == entry.license.lower().replace(" ", "-").split("-")[0]


@pytest.mark.parametrize("name", [name for name in PRETRAINED if name.startswith(("dino_", "dinov2_", "supervised_"))])
def test_addresses_of_the_authors_are_those_that_timm_converted(name: str) -> None:
    assert PRETRAINED[name].url == timm.get_pretrained_cfg(PRETRAINED[name].timm_name).url


@pytest.mark.parametrize("name", PRETRAINED)
def test_number_of_parameters_is_that_of_timms_model(name: str) -> None:
    with torch.device("meta"):
        model = timm.create_model(PRETRAINED[name].timm_name, num_classes=0)
    assert PRETRAINED[name].parameters == sum(parameter.numel() for parameter in model.parameters())


def test_documentation_lists_every_backbone_with_the_licence_of_its_weights() -> None:
    page = (Path(__file__).parents[2] / "docs" / "backbones.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| ([\d.]+) M \| ([^|]*) \| \[[^]]*\]\((\S+)\) \|$", page, re.MULTILINE)
    expected = [
        (name, f"{entry.parameters / 1e6:.1f}", entry.license, entry.repository) for name, entry in PRETRAINED.items()
    ]
    assert rows == expected
