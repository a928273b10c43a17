"""What a data set and a row of a result are called in file names and in the keys of a logger."""

import re
from collections.abc import Sequence
from pathlib import Path

from segtricks.runs import file_name


def key(name: str) -> str:
    """Return a name as a part of a logger's key, letters, digits and ``_`` alone: ``mask_guided_filter``."""
    return re.sub(r"\W+", "_", file_name(name)) or "_"


def set_keys(names: Sequence[str]) -> dict[str, str]:
    """Return a key for each test set, all different, of no more of its path than tells it from the others.

    ``/data/a/photos`` and ``/data/b/photos`` become ``a_photos`` and ``b_photos``.
    """
    parts = [Path(name).parts or (name,) for name in names]
    for length in range(1, max(map(len, parts), default=0) + 1):
        keys = [key(" ".join(part[-length:])) for part in parts]
        if len(set(keys)) == len(set(names)):
            return dict(zip(names, keys, strict=True))
    return {name: f"{key(Path(name).name)}_{place}" for place, name in enumerate(dict.fromkeys(names), 1)}
