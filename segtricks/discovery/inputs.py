"""What the methods share: checked features, and boxes of masks."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from segtricks.errors import UserError

# Entries of all affinity matrices at once. On a CPU little more than one graph of 40 x 40: beyond, every matrix is
# fresh memory, and touching its pages for the first time takes as long as the product that fills them.
_ENTRIES_ON_CPU, _ENTRIES = 2**22, 2**28
_Result = TypeVar("_Result", bound=tuple[Tensor, ...])


def check_features(features: Tensor) -> None:
    """Raise a ``UserError`` unless the features are float (B, D, h, w) with D, h and w of at least 1."""
    if features.ndim != 4 or not features.is_floating_point() or 0 in features.shape[1:]:
        raise UserError(f"features must be float (B, D, h, w), got {features.dtype} of {tuple(features.shape)}.")


def usable(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return features (B, D, h, w) in float32 with the broken images zeroed, and (B,) which images are sound.

    Broken are those with a nan or an infinity, or with nothing but zeros.
    """
    flat = features.float().flatten(1)
    sound = torch.isfinite(flat).all(dim=1) & (flat != 0).any(dim=1)
    return torch.where(sound[:, None, None, None], features.float(), 0.0), sound


def in_parts(method: Callable[[Tensor], _Result], features: Tensor) -> _Result:
    """Return ``method`` of features (B, D, h, w), called on as many images at a time as their graphs fit in memory."""
    patches = features.shape[2] * features.shape[3]
    entries = _ENTRIES_ON_CPU if features.device.type == "cpu" else _ENTRIES
    size = max(1, entries // patches**2)
    if len(features) <= size:
        return method(features)
    parts = [method(part) for part in features.split(size)]
    return type(parts[0])(*(torch.cat(field) for field in zip(*parts, strict=True)))


def mask_boxes(mask: Tensor, patch_size: int = 1) -> Tensor:
    """Return (B, 4) int64 boxes x0, y0, x1, y1 around the masks (B, 1, h, w), half-open, zeros for an empty mask.

    In patches, or with ``patch_size`` in pixels.
    """
    inside = mask[:, 0] > 0
    columns, rows = inside.any(dim=1).to(torch.uint8), inside.any(dim=2).to(torch.uint8)
    first = [line.argmax(dim=1) for line in (columns, rows)]
    last = [line.shape[1] - line.flip(1).argmax(dim=1) for line in (columns, rows)]
    boxes = torch.stack([*first, *last], dim=1) * patch_size
    return torch.where(inside.flatten(1).any(dim=1)[:, None], boxes, 0)
