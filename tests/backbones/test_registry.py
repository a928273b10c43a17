import re

import pytest
import timm
from timm.models import is_model_in_modules

from segtricks.backbones.registry import PRETRAINED


@pytest.mark.parametrize("name", PRETRAINED)
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
    if entry.url is None:
        assert timm.is_model_pretrained(entry.timm_name)
    else:
        assert entry.url.endswith(entry.official)


def test_official_dino_files_are_those_that_timm_converted() -> None:
    for name in ("dino_vits8", "dino_vits16", "dino_vitb8", "dino_vitb16", "dinov2_vits14", "dinov2_vitb14_reg"):
        url = timm.get_pretrained_cfg(PRETRAINED[name].timm_name).url
        assert url.endswith("/" + PRETRAINED[name].official), (name, url)


def test_dino_and_ibot_keep_the_threshold_of_the_paper() -> None:
    assert {entry.tau for name, entry in PRETRAINED.items() if name.startswith(("dino_", "ibot_"))} == {0.4}
