"""Find configs: a local file, or one that ships with the package, by name from any folder."""

import difflib
from pathlib import Path

import yaml

from segtricks.errors import UserError

_PACKAGE = Path(__file__).parents[1]


def packaged_configs() -> dict[str, Path]:
    """Return the configs that ship with segtricks, by name."""
    folder = _PACKAGE / "configs"  # in the wheel
    if not folder.is_dir():
        folder = _PACKAGE.parent / "configs"  # in a checkout
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


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


def check_config(path: Path) -> None:
    """Raise a ``UserError`` unless the file is YAML with ``key: value`` lines."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where is not None else ""
        raise UserError(f"{path}{line} is not valid YAML: {getattr(error, 'problem', None) or error}.") from error
    if not isinstance(content, dict):
        raise UserError(
            f"{path} is not a config: it needs lines such as 'trainer: {{max_epochs: 5}}'.\nNext: --config demo."
        )
