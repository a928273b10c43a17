"""Read the heads that the authors of "Two Tricks" released."""

import re
from pathlib import Path

import torch
from torch import Tensor

from segtricks.errors import UserError
from segtricks.heads.sempart import SempartHead

# Module paths in the authors' checkpoints, and ours.
_RENAMED = [
    (r"conv_input\.", "project."),
    (r"conv_coarse\.", "coarse."),
    (r"conv_final\.", "fine."),
    (r"layers\.", "blocks."),
    (r"inp_transformer\.layers\.(\d+)\.0\.norm\.", r"transformer.\1.attention_norm."),
    (r"inp_transformer\.layers\.(\d+)\.0\.fn\.to_qkv\.", r"transformer.\1.qkv."),
    (r"inp_transformer\.layers\.(\d+)\.0\.fn\.to_out\.0\.", r"transformer.\1.attention_out."),
    (r"inp_transformer\.layers\.(\d+)\.1\.norm\.", r"transformer.\1.mlp_norm."),
    (r"inp_transformer\.layers\.(\d+)\.1\.fn\.net\.0\.", r"transformer.\1.mlp.0."),
    (r"inp_transformer\.layers\.(\d+)\.1\.fn\.net\.3\.", r"transformer.\1.mlp.2."),
]


def load_original_head(path: str | Path) -> SempartHead:
    """Return a :class:`SempartHead` in eval mode from a checkpoint of the authors' code.

    The file holds ``{"segmenter_state_dict": {...}}``. Feature, hidden and patch size are read from its tensors (the
    patch size is two to the number of upsampling blocks). Nothing in the file is executed.

    Raises:
        UserError: if the file is missing, is not such a checkpoint, holds pickled code, or a key does not fit.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"No head checkpoint at {path}: the file does not exist.") from None
    except Exception as error:
        raise UserError(
            f"{path} is not a readable checkpoint of tensors ({type(error).__name__}); "
            "expected the authors' file with the key 'segmenter_state_dict'."
        ) from error
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("segmenter_state_dict"), dict):
        found = sorted(map(str, checkpoint))[:5] if isinstance(checkpoint, dict) else type(checkpoint).__name__
        raise UserError(f"{path} holds no 'segmenter_state_dict'; it holds {found}.")
    state = {_our_name(key): value for key, value in checkpoint["segmenter_state_dict"].items()}
    return _build(state, path).eval()


def _our_name(key: str) -> str:
    for pattern, ours in _RENAMED:
        renamed, count = re.subn("^" + pattern, ours, key)
        if count:
            return renamed
    return key


def _build(state: dict[str, Tensor], path: str | Path) -> SempartHead:
    blocks = {int(key.split(".")[1]) for key in state if re.match(r"blocks\.\d+\.", key)}
    project = state.get("project.weight")
    if not blocks or not isinstance(project, Tensor) or project.ndim != 4:
        raise UserError(f"{path} is not a Sempart head: it lacks 'conv_input.weight' or 'layers.*'.")
    head = SempartHead(project.shape[1], patch_size=2 ** len(blocks), hidden_dim=project.shape[0])
    try:
        head.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise UserError(f"{path} does not fit a Sempart head: {' '.join(str(error).split())[:400]}") from error
    return head
