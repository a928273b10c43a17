import json
import math
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from segtricks.backbones.padding import pad_to_patches
from segtricks.errors import UserError
from segtricks.heads import load_original_selfmask


@pytest.fixture
def small(golden) -> Path:
    return golden / "selfmask_network.pth"


@pytest.mark.parametrize("case", ["aligned", "padded"])
def test_small_network_equals_the_first_implementation(golden, small, case):
    arrays = np.load(golden / "selfmask_network.npz")
    image = torch.from_numpy(arrays[f"image_{case}"])
    network = load_original_selfmask(small, num_heads=2)
    masks, objectness = network(image)
    features = network.backbone(pad_to_patches(image, 8))
    np.testing.assert_allclose(features, arrays[f"features_{case}"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(masks.sigmoid(), arrays[f"masks_{case}"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(objectness.sigmoid(), arrays[f"objectness_{case}"], rtol=0, atol=1e-4)


def test_network_of_the_published_size_equals_the_first_implementation(golden, tmp_path):
    arrays = np.load(golden / "selfmask_full_size.npz")
    state = {
        str(name): _weights(str(name), tuple(json.loads(str(shape))), int(arrays["weight_seed"]))
        for name, shape in zip(arrays["names"], arrays["shapes"], strict=True)
    }
    torch.save({"model": state}, tmp_path / "full.pt")
    network = load_original_selfmask(tmp_path / "full.pt")
    assert sum(parameter.numel() for parameter in network.parameters()) == arrays["parameters"]
    image = torch.from_numpy(arrays["image"])
    masks, objectness = network(image)
    np.testing.assert_allclose(network.backbone(image), arrays["features"], rtol=0, atol=1e-3)
    np.testing.assert_allclose(masks.sigmoid(), arrays["masks"], rtol=0, atol=1e-3)
    np.testing.assert_allclose(objectness.sigmoid(), arrays["objectness"], rtol=0, atol=1e-3)


def _weights(name: str, shape: tuple[int, ...], seed: int) -> torch.Tensor:
    """By the recipe of the golden values' README."""
    random = np.random.RandomState((zlib.crc32(name.encode()) + seed) % 2**32)
    x = torch.from_numpy(random.standard_normal(shape).astype(np.float32))
    if name == "query_embed":
        return x
    if "norm" in name and name.endswith("weight"):
        return 1 + 0.1 * x
    if x.ndim == 1:
        return 0.1 * x
    if "pos_embed" in name or "cls_token" in name:
        return 0.2 * x
    return x * math.sqrt(1 / math.prod(shape[1:]))


@pytest.mark.parametrize("change", ["missing", "unexpected", "misshapen"])
def test_every_key_has_to_fit(small, tmp_path, change):
    state = torch.load(small, weights_only=True)
    if change == "missing":
        del state["decoder.norm.weight"]
    elif change == "unexpected":
        state["class_head.weight"] = torch.zeros(1)
    else:
        state["query_embed"] = torch.zeros(5, 7)
    torch.save(state, tmp_path / "changed.pt")
    with pytest.raises(UserError, match="does not fit a SelfMask network"):
        load_original_selfmask(tmp_path / "changed.pt", num_heads=2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"state": {}}, r"it holds \['state'\]"),
        ([1, 2], "it holds list"),
        ({"a": torch.zeros(1)}, "does not fit"),
        (Path("x"), "not a readable checkpoint"),
    ],
)
def test_other_files_are_refused_with_what_they_hold(tmp_path, content, message):
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(UserError, match=message):
        load_original_selfmask(tmp_path / "other.pt")


def test_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.pt: the file does not exist"):
        load_original_selfmask(tmp_path / "none.pt")
