"""Read the files that authors released: a state dict, bare or under ``model``, from which nothing is executed."""

from pathlib import Path

import torch
from torch import Tensor

from segtricks.errors import UserError


def read_released(path: str | Path, method: str, example: str) -> dict[str, Tensor]:
    """Return the state dict of a file, on the CPU.

    Args:
        path: the file.
        method: whose checkpoint it should be.
        example: the authors' file, in words.

    Raises:
        UserError: the file is missing, is not such a checkpoint, or holds pickled code.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"No {method} checkpoint at {path}: the file does not exist.") from None
    except Exception as error:
        raise UserError(
            f"{path} is not a readable checkpoint of tensors ({type(error).__name__}); "
            f"expected a file such as the authors' {example}."
        ) from error
    state = content.get("model", content) if isinstance(content, dict) else content
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        found = sorted(map(str, content))[:5] if isinstance(content, dict) else type(content).__name__
        raise UserError(f"{path} does not hold a state dict, bare or under 'model'; it holds {found}.")
    return state
