"""Weight files: read without running code, unwrapped to a plain state dict, loaded strictly."""

import argparse
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from timm.models import eva, vision_transformer
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from segtricks.errors import UserError

StateDict = dict[str, Tensor]
_MOCO = "encoder_q."

OWN_FILE = "file "
"""How the words begin that say where weights come from, where that is a file of the user's."""


def load_checkpoint(model: nn.Module, path: str | Path, name: str) -> None:
    """Load a weight file into a timm ViT or ResNet, every key or none.

    Read are plain state dicts, full training checkpoints of DINO and iBOT (the teacher is taken) and MoCo (the query
    encoder), timm's and torchvision's own files, the layouts that Meta released DINOv2 and DINOv3 in, as
    ``.safetensors`` or PyTorch's format. ``head.*``, ``fc.*`` and ``masked_embed`` are left out.

    Raises:
        UserError: No such file, unreadable, holds code, or does not fit the model in every key and shape.
    """
    load_strictly(model, official_layout(read_weights(path), model, path), path, name)


def read_weights(path: str | Path) -> StateDict:
    """State dict in a file, with wrappers and prefixes taken off.

    Raises:
        UserError: No such file, empty, truncated, of another format, holding code, or without weights.
    """
    path = Path(path)
    if not path.is_file():
        kind = "is a folder, not a weight file" if path.is_dir() else "does not exist"
        raise UserError(f"checkpoint {path} {kind}.\nPass --model.backbone_checkpoint FILE (.pth or .safetensors).")
    if path.stat().st_size == 0:
        raise UserError(f"checkpoint {path} is empty (0 bytes).\nDownload it again.")
    return _unwrap(_read(path), path)


def load_strictly(model: nn.Module, state: StateDict, path: str | Path, name: str) -> None:
    """``load_state_dict`` whose error says what does not fit and why that is likely so.

    Raises:
        UserError: Missing, unexpected or wrongly shaped keys; the first few are named, the rest counted.
    """
    own = model.state_dict()
    misshapen = [key for key in own if key in state and own[key].shape != state[key].shape]
    faults = {
        # Files of 2017 lack the counters of batch norms, and torch starts those at 0.
        "missing": [key for key in own if key not in state and not key.endswith("num_batches_tracked")],
        "unexpected": [key for key in state if key not in own],
        "of another shape": [f"{key} {_shape(state[key])} for {_shape(own[key])}" for key in misshapen],
    }
    problems = [f"{len(keys)} keys {fault} ({_first(keys)})" for fault, keys in faults.items() if keys]
    if problems:
        raise UserError(f"{path} does not fit {name!r}: {'; '.join(problems)}.\n{_likely_cause(own, state, misshapen)}")
    model.load_state_dict(state, strict=True)


def official_layout(state: StateDict, model: nn.Module, path: str | Path) -> StateDict:
    """Rename Meta's DINOv2 and DINOv3 keys to timm's, by timm's own filters; other state dicts pass unchanged.

    Raises:
        UserError: DINOv3 weights with attention biases for a timm model that has no room for them.
    """
    if not isinstance(model, VisionTransformer | Eva):
        return state
    # timm's filters would resize weights for another patch or grid: leave those for the strict load to refuse.
    patch = state.get("patch_embed.proj.weight")
    if "mask_token" not in state or patch is None or patch.shape != model.patch_embed.proj.weight.shape:
        return state
    if isinstance(model, VisionTransformer):
        grid_fits = "pos_embed" in state and state["pos_embed"].shape[1] == model.patch_embed.num_patches + 1
        return vision_transformer.checkpoint_filter_fn(dict(state), model) if grid_fits else state
    # timm's filter would drop the biases of a model that has no room for them, unsaid: let go of idle ones only.
    state = {key: value for key, value in state.items() if not (key.endswith("qkv.bias") and _idle(value))}
    if "blocks.0.attn.qkv.bias" in state and getattr(model.blocks[0].attn, "q_bias", None) is None:
        raise UserError(f"{path} has attention biases.\nPass timm's name for the model, the one with '_qkvb'.")
    return eva.checkpoint_filter_fn(state, model)


def _read(path: Path) -> Any:
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        # Full DINO checkpoints carry their command line: a namespace holds values and runs nothing.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError as error:
        raise UserError(f"checkpoint {path} may not be read: permission denied.\nChange its permissions.") from error
    except Exception as error:  # readers of foreign bytes raise anything
        code = re.search(r"GLOBAL (\S+)", str(error))
        if code:
            reason = f"holds code or objects ({code[1]}), not only weights, and was not run"
            advice = "Save its state dict alone, or use the authors' file."
        else:
            reason, advice = "cannot be read: truncated, or not a weight file", "Download it again."
        raise UserError(f"checkpoint {path} {reason}.\n{advice}") from error


def _unwrap(content: Any, path: Path) -> StateDict:
    for wrapper in ("teacher", "state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not any(isinstance(value, Tensor) for value in content.values()):
        found = f"keys {_first([str(key) for key in content])}" if isinstance(content, Mapping) else type(content)
        raise UserError(
            f"checkpoint {path} holds no state dict ({found}).\n"
            "Expected are names and tensors, alone or under 'teacher', 'state_dict' or 'model'."
        )
    tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    state = {re.sub(r"^((module|backbone)\.)+", "", key): value for key, value in tensors.items()}
    if any(key.startswith(_MOCO) for key in state):
        state = {key.removeprefix(_MOCO): value for key, value in state.items() if key.startswith(_MOCO)}
    unused = ("head.", "fc.", "masked_embed")
    return {key: value for key, value in state.items() if not key.startswith(unused)}


def _idle(qkv_bias: Tensor) -> bool:
    query, _, value = qkv_bias.chunk(3)  # the key's bias is masked out in DINOv3, whatever it holds
    return not (query.any() or value.any())


def _likely_cause(own: StateDict, state: StateDict, misshapen: list[str]) -> str:
    patch = "patch_embed.proj.weight"
    if patch in misshapen and state[patch].ndim == 4:
        (width, _, _, size), (own_width, _, _, own_size) = state[patch].shape, own[patch].shape
        return (
            f"It is of a ViT with {size} px patches and width {width}, the model has {own_size} px and {own_width}: "
            "pass the --model.backbone that fits the file."
        )
    if misshapen == ["pos_embed"]:
        return "Its position embeddings are of another grid (image size at training): pass the timm name with it."
    return "It is of another architecture: pass the --model.backbone that fits the file."


def _first(keys: list[str], count: int = 3) -> str:
    return ", ".join(keys[:count]) + (", …" if len(keys) > count else "")


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape))
