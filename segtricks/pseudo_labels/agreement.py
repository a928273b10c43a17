"""How far two stores of pseudo-labels agree, without any labels."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from segtricks.data.images import UnreadableImage
from segtricks.data.label_store import Store
from segtricks.data.transforms import resize_target
from segtricks.errors import UserError
from segtricks.parallel import in_threads


def store_agreement(first: Store, second: Store, photographs: Sequence[Path], workers: int = 1) -> float:
    """Return the mean IoU of the masks that both have of a photograph, all masks of one taken together.

    Two empty masks agree. The first store's masks are brought to the size of the second's, to the nearest pixel.
    Photographs that one of them lacks, or whose entry is damaged, do not count.

    Raises:
        UserError: no photograph is left.
    """
    names = first.match(photographs), second.match(photographs)

    def overlap(path: Path) -> float | None:
        try:
            before = _foreground(first, names[0][path])
            after = _foreground(second, names[1][path])
        except UnreadableImage:
            return None
        if before.shape != after.shape:
            before = torch.as_tensor(resize_target(before, *after.shape))
        union = (before | after).sum()
        return float((before & after).sum() / union) if union else 1.0

    shared = [path for path in photographs if all(path in found for found in names)]
    found = [value for value in in_threads(overlap, shared, workers, "comparing masks") if value is not None]
    if not found:
        raise UserError(f"{first.path} and {second.path} have no photograph in common.")
    return float(np.mean(found))


def _foreground(store: Store, name: str) -> Tensor:
    return torch.from_numpy(store.entry(name).arrays()).any(dim=0)
