"""The grid of an experiment: where it lies, its file read and checked, its axes changed."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import yaml

from segtricks.errors import UserError
from segtricks.experiments.values import axes as axes_of
from segtricks.experiments.values import check_keys, check_texts, mapping, metrics, names, text, whole_numbers

_PACKAGE = Path(__file__).parents[1]
_RUN_KEYS = ("command", "config", "options", "protocol")
_CELL_KEYS = ("labels", "run", "row")
_NEEDED = ("title", "protocol", "data", "runs", "cells")
_READ: dict[str, Callable[[Any, str], Any]] = {
    "title": text,
    "protocol": text,
    "data": names,
    "runs": mapping,
    "metrics": metrics,
    "seeds": whole_numbers,
    "axes": axes_of,
}


@dataclass(frozen=True)
class Grid:
    """Content of a ``grid.yaml``; every text in ``runs`` and ``cells`` may hold ``{axis}``.

    Args:
        title: what the table shows.
        protocol: named protocol of every run that names no other.
        data: test sets.
        runs: by name, ``command`` (``fit``, or ``test`` for a method without training), ``config`` (a packaged name, or
            a file beside the grid), ``options`` and perhaps ``protocol``. ``masks`` is the command of a method whose
            masks the user brings: without them its cells show published numbers alone.
        cells: rows of the table: ``labels``, and ``run`` and ``row`` of its result; without a run, a row of published
            numbers alone.
        paper: number of the paper's table, where the published numbers are looked up.
        metrics: columns of the table.
        seeds: of every ``fit``; a ``test`` has no chance in it and runs once.
        axes: values by name; runs and cells exist once for each combination.
        folder: where the file lies.
    """

    title: str
    protocol: str
    data: list[str]
    runs: dict[str, dict[str, Any]]
    cells: list[dict[str, Any]]
    paper: int | None = None
    metrics: list[str] = field(default_factory=lambda: ["acc", "iou", "max_fbeta"])
    seeds: list[int] = field(default_factory=lambda: [0])
    axes: dict[str, list[str]] = field(default_factory=dict)
    folder: Path = Path()


def packaged_experiments() -> dict[str, Path]:
    """Return the grids that ship with segtricks, by the name of their folder."""
    folder = _PACKAGE / "configs" / "experiments"  # in the wheel
    if not folder.is_dir():
        folder = _PACKAGE.parent / "experiments"  # in a checkout
    return {path.parent.name: path for path in sorted(folder.glob("*/grid.yaml"))}


def find_grid(name: str) -> Path:
    """Return the ``grid.yaml`` of an experiment: its path, its folder, or a name that ships (``table3`` will do).

    Raises:
        UserError: if there is none; the message lists the packaged ones.
    """
    for path in (Path(name), Path(name) / "grid.yaml"):
        if path.is_file():
            return path
    packaged = packaged_experiments()
    wanted = Path(name).name if Path(name).parent.name == "experiments" else name
    found = [path for known, path in packaged.items() if known == wanted or known.startswith(f"{wanted}_")]
    if len(found) != 1:
        raise UserError(f"No grid at {name}, and no experiment of that name ships. Packaged: {', '.join(packaged)}.")
    return short_path(found[0])


def read_grid(path: Path) -> Grid:
    """Read a ``grid.yaml``.

    Raises:
        UserError: it is no YAML, a key is missing or unknown, a value has a wrong type, or a ``{name}`` is no axis; the
            message names it.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no YAML: {getattr(error, 'problem', None) or error}.") from error
    known = [entry.name for entry in fields(Grid) if entry.name != "folder"]
    check_keys(content, known, _NEEDED, str(path))
    content = {key: value for key, value in content.items() if value is not None or key in _NEEDED}
    found: dict[str, Any] = {key: read(content[key], f"{path}: {key}") for key, read in _READ.items() if key in content}
    if type(content.get("paper", 0)) is not int:
        raise UserError(f"{path}: paper must be the number of a table of the paper, got {content['paper']!r}.")
    found |= {"paper": content.get("paper")}
    axes = found.get("axes", {})
    found["runs"] = {name: _run(name, run, axes, f"{path}: runs: {name}") for name, run in found["runs"].items()}
    if not isinstance(content["cells"], list):
        raise UserError(f"{path}: cells must be a list of lines '- labels: …', got {content['cells']!r:.60}.")
    found["cells"] = [_cell(cell, axes, f"{path}: cell {place}") for place, cell in enumerate(content["cells"], 1)]
    return Grid(**found, folder=path.parent)


def _run(name: str, run: Any, axes: Iterable[str], where: str) -> dict[str, Any]:
    needed = ("command",) if isinstance(run, dict) and run.get("command") == "masks" else ("command", "config")
    check_keys(run, _RUN_KEYS, needed, where)
    if run["command"] not in ("fit", "test", "masks"):
        raise UserError(f"{where}: command must be fit, test or masks, got {run['command']!r}.")
    check_texts([name, run], axes, where)
    read = {"config": text, "options": mapping, "protocol": text}
    given = {key: value for key, value in run.items() if value is not None or key in needed}
    return {key: read[key](value, f"{where}: {key}") if key in read else value for key, value in given.items()}


def _cell(cell: Any, axes: Iterable[str], where: str) -> dict[str, Any]:
    check_keys(cell, _CELL_KEYS, ("labels",), where)
    check_texts(cell, axes, where)
    read = {"labels": mapping, "run": text, "row": text}
    return {key: read[key](value, f"{where}: {key}") for key, value in cell.items()}


def with_axes(grid: Grid, changes: Sequence[str]) -> Grid:
    """Return the grid with other values of its axes: ``backbone=dino_vits8,dino_vits16``.

    Raises:
        UserError: no axes at all, no such axis, or no value.
    """
    axes = dict(grid.axes)
    for change in changes:
        if not axes:
            raise UserError(f"--axis {change}: this grid has no axes to change. Next: leave --axis out.")
        name, _, values = change.partition("=")
        if name not in axes or not values:
            allowed = ", ".join(f"{key}={','.join(map(str, own))}" for key, own in axes.items())
            raise UserError(f"--axis {change}: write NAME=VALUE,VALUE. Axes here: {allowed}.")
        axes[name] = values.split(",")
    return replace(grid, axes=axes)


def short_path(path: Path) -> Path:
    """Return the path from the working folder if it lies in it, else the whole."""
    path, here = path.resolve(), Path.cwd()
    return Path(os.path.relpath(path, here)) if path.is_relative_to(here) else path
