"""Configs and grids that ship with segtricks, found by name from any folder; and the YAML files of users."""

import difflib
from pathlib import Path
from typing import Any

import yaml

from segtricks.errors import UserError

CONFIGS = Path(__file__).parent / "configs"


def packaged_configs() -> dict[str, Path]:
    """Return the configs that ship with segtricks, by name."""
    return {path.stem: path for path in sorted(CONFIGS.glob("*.yaml"))}


def packaged_experiments() -> dict[str, Path]:
    """Return the grids that ship with segtricks, by name."""
    return {path.stem: path for path in sorted((CONFIGS / "experiments").glob("*.yaml"))}


def find_config(name: str) -> Path:
    """Return the path of a config given as a path, ``sempart_tricks`` or ``configs/sempart_tricks.yaml``.

    Raises:
        UserError: if there is none; the message lists the packaged ones.
    """
    path = Path(name)
    if path.is_file():
        return path
    packaged = packaged_configs()
    if path.stem in packaged and path.suffix in ("", ".yaml") and str(path.parent) in (".", "configs"):
        return packaged[path.stem]
    close = difflib.get_close_matches(path.stem, packaged, n=1)
    hint = f" Did you mean --config {close[0]}?" if close else ""
    raise UserError(f"No config at {name}, and none of that name ships.{hint}\nPackaged: {', '.join(packaged)}.")


def find_grid(name: str) -> Path:
    """Return the grid of an experiment: its path, that of the folder of a ``grid.yaml``, or a name that ships.

    The start of a name will do where only one begins with it: ``table3``.

    Raises:
        UserError: if there is none; the message lists the packaged ones.
    """
    path = Path(name)
    for candidate in (path, path / "grid.yaml"):
        if candidate.is_file():
            return candidate
    packaged = packaged_experiments()
    wanted = path.name if path.parent.name == "experiments" else name
    found = [grid for known, grid in packaged.items() if known == wanted or known.startswith(f"{wanted}_")]
    if len(found) != 1:
        raise UserError(f"No grid at {name}, and no experiment of that name ships. Packaged: {', '.join(packaged)}.")
    return found[0]


def read_yaml(path: Path, example: str) -> dict[str, Any]:
    """Return the content of a YAML file.

    Args:
        path: the file.
        example: a line that it could hold, for the message.

    Raises:
        UserError: it is not YAML, or not a mapping.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = "" if mark is None else f", line {mark.line + 1}"
        raise UserError(f"{path}{line} is not valid YAML: {getattr(error, 'problem', None) or error}.") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a mapping: it needs lines such as {example!r}.")
    return content


def check_config(path: Path) -> None:
    """Raise a ``UserError`` unless the file is YAML with ``key: value`` lines."""
    read_yaml(path, "trainer: {max_epochs: 5}")
