"""The records of an offline W&B run, read from its file: a log of LevelDB's format after a header of 7 bytes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

_BLOCK, _HEAD = 32768, 7
_WHOLE, _LAST = 1, 4


def records(run: Path) -> Iterator[Record]:
    """Yield the records of a run folder of ``segtricks fit --wandb offline``."""
    (file,) = (run / "wandb/latest-run").glob("*.wandb")
    content, place, parts = file.read_bytes(), _HEAD, b""
    while place + _HEAD <= len(content):
        left = _BLOCK - place % _BLOCK
        if left < _HEAD:
            place += left
            continue
        length, kind = int.from_bytes(content[place + 4 : place + 6], "little"), content[place + 6]
        parts += content[place + _HEAD : place + _HEAD + length]
        place += _HEAD + length
        if kind in (_WHOLE, _LAST):
            record = Record()
            record.ParseFromString(parts)
            parts = b""
            yield record


def history(run: Path) -> dict[str, list[Any]]:
    """Return the logged values by key, in their order."""
    found: dict[str, list[Any]] = {}
    for record in records(run):
        for item in record.history.item:
            found.setdefault("/".join(item.nested_key) or item.key, []).append(json.loads(item.value_json))
    return found


def summary(run: Path) -> dict[str, Any]:
    """Return the summary values that were set."""
    items = [item for record in records(run) for item in record.summary.update]
    return {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}


def config(run: Path) -> dict[str, Any]:
    """Return the config, its last values."""
    items = [item for record in records(run) for item in (*record.config.update, *record.run.config.update)]
    return {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}


def table(run: Path, key: str) -> list[dict[str, Any]]:
    """Return the rows of the table that was logged last under a key; a picture in it is the path of its file."""
    files: dict[str, Path] = {}
    for record in records(run):
        if record.HasField("artifact") and record.artifact.type == "run_table":
            entries = {entry.path: Path(entry.local_path) for entry in record.artifact.manifest.contents}
            files = entries if f"{key}.table.json" in entries else files
    content = json.loads(files[f"{key}.table.json"].read_text())
    cells = [[files[cell["path"]] if isinstance(cell, dict) else cell for cell in row] for row in content["data"]]
    return [dict(zip(content["columns"], row, strict=True)) for row in cells]
