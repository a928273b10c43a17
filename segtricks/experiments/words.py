"""Option words of an experiment: values as text, words as pairs, and the folders that ``--masks`` names."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segtricks.errors import UserError

DATA_OPTIONS = ("data.root", "data.masks", "data.test_limit", "data.num_workers")
"""Of the options for all runs, those that the scoring of masks takes too."""


def as_text(value: Any) -> str:
    """Return a value of YAML as the command line takes it."""
    if value is None:
        return "null"
    return value if isinstance(value, str) else json.dumps(value)


def option_pairs(words: Sequence[str]) -> dict[str, str]:
    """Return option words as one mapping; as on the command line, the last one counts."""
    pairs: dict[str, str] = {}
    key = ""
    for word in words:
        if word.startswith("--"):
            key, _, value = word[2:].partition("=")
            pairs[key] = value
        elif key:
            pairs[key] = f"{pairs[key]} {word}".strip()
    return pairs


def mask_folder(name: str, folder: Path, data: str, alone: bool) -> Path:
    """Return the folder of a method's masks of one test set: ``FOLDER/SET``; FOLDER itself if the set is ``alone``.

    Raises:
        UserError: it is missing.
    """
    own = folder / re.sub(r"\[[^\[\]]*\]$", "", Path(data).name)
    if own.is_dir():
        return own
    if alone and folder.is_dir():
        return folder
    missing = own if folder.is_dir() else folder
    raise UserError(
        f"--masks {name}={folder}: there is no folder {missing} with the masks of {data}.\n"
        f"Next: one folder for each test set below {folder}, or a single test set with --data."
    )
