"""What a store says of its origin, as further commands add to it."""

from collections.abc import Mapping
from pathlib import Path

from segtricks.data.label_store import FORMAT, Store
from segtricks.runs import write_json


def add_source(folder: str | Path, before: Store, source: Mapping[str, str]) -> Store:
    """Write ``index.json`` in a folder with entries, and return its store.

    Args:
        folder: the store that was written to.
        before: the store that its masks come from, perhaps the same, whose index goes on.
        source: to be added, in words.
    """
    index = before.index | {"format": FORMAT, "source": before.index.get("source", {}) | dict(source)}
    write_json(Path(folder) / "index.json", index)
    return Store.open(folder)
