import json
import math
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from segtricks.errors import UserError
from segtricks.heads import load_original_maskcontrast


def _weights(name: str, shape: tuple[int, ...], seed: int) -> torch.Tensor:
    """By the recipe of the golden values' README."""
    if name.endswith("num_batches_tracked"):
        return torch.tensor(0)
    random = np.random.RandomState((zlib.crc32(name.encode()) + seed) % 2**32)
    x = torch.from_numpy(random.standard_normal(shape).astype(np.float32))
    if name.endswith("running_var"):
        return 1 + 0.1 * x.abs()
    if x.ndim == 1:
        return 1 + 0.1 * x if name.endswith("weight") else 0.1 * x
    return x * math.sqrt(1 / math.prod(shape[1:]))


@pytest.fixture(scope="module")
def arrays(golden: Path) -> dict[str, np.ndarray]:
    return dict(np.load(golden / "maskcontrast_network.npz"))


@pytest.fixture(scope="module")
def state(arrays) -> dict[str, torch.Tensor]:
    """A network's state dict under the original names."""
    shapes = zip(arrays["names"], arrays["shapes"], strict=True)
    seed = int(arrays["weight_seed"])
    return {str(name): _weights(str(name), tuple(json.loads(str(shape))), seed) for name, shape in shapes}


def _of_training(state: dict[str, torch.Tensor]) -> dict:
    """The released layout: both networks and the queue, as a wrapped module's."""
    query = {f"module.model_q.{name}": value for name, value in state.items()}
    key = {f"module.model_k.{name}": torch.zeros_like(value) for name, value in state.items()}
    queue = {"module.queue": torch.zeros(32, 128), "module.queue_ptr": torch.zeros(1, dtype=torch.int64)}
    return {"model": query | key | queue, "epoch": 40}


def test_network_of_a_released_training_equals_the_first_implementation(arrays, state, tmp_path):
    torch.save(_of_training(state), tmp_path / "training.pth.tar")
    network = load_original_maskcontrast(tmp_path / "training.pth.tar")
    assert sum(parameter.numel() for parameter in network.parameters()) == arrays["parameters"]
    assert sum(parameter.numel() for parameter in network.backbone.parameters()) == arrays["backbone_parameters"]
    image = torch.from_numpy(arrays["image"])
    grid = network.head(network.backbone.extract(image))
    np.testing.assert_allclose(grid.embedding, arrays["embedding_grid"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(grid.saliency[:, 0], arrays["saliency_grid"], rtol=0, atol=1e-5)
    embedding, saliency = network(image)
    np.testing.assert_allclose(saliency[:, 0], arrays["saliency"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(embedding[:, :4, ::4, ::4], arrays["embedding_sample"], rtol=0, atol=1e-4)


@pytest.mark.parametrize("wrap", [dict, lambda state: {"model": state}])
def test_a_network_alone_is_read_too(state, tmp_path, wrap):
    torch.save(wrap(state), tmp_path / "network.pth")
    network = load_original_maskcontrast(tmp_path / "network.pth")
    torch.testing.assert_close(network.head.saliency.weight, state["classification_head.weight"])
    assert not network.training and not any(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize("change", ["missing", "unexpected", "misshapen"])
def test_every_key_has_to_fit(state, tmp_path, change):
    changed = dict(state)
    if change == "missing":
        del changed["backbone.conv1.weight"]
    elif change == "unexpected":
        changed["decoder.4.weight"] = torch.zeros(21, 256, 1, 1)
    else:
        changed["decoder.1.weight"] = torch.zeros(1)
    torch.save(changed, tmp_path / "changed.pth")
    with pytest.raises(UserError, match="does not fit a MaskContrast network"):
        load_original_maskcontrast(tmp_path / "changed.pth")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"state": {}}, r"it holds \['state'\]"),
        ([1, 2], "it holds list"),
        ({"a": torch.zeros(1)}, r"lacks 'head\.weight'"),
        (Path("x"), "not a readable checkpoint"),
    ],
)
def test_other_files_are_refused_with_what_they_hold(tmp_path, content, message):
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(UserError, match=message):
        load_original_maskcontrast(tmp_path / "other.pth")


def test_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.pth: the file does not exist"):
        load_original_maskcontrast(tmp_path / "none.pth")
