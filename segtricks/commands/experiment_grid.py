"""The grid of an experiment: where it lies, its file read and checked, its axes changed."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import yaml

from segtricks.errors import UserError

_PACKAGE = Path(__file__).parents[1]
_RUN_KEYS = ("command", "config", "options", "protocol")
_CELL_KEYS = ("labels", "run", "row")


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
    folder = _PACKAGE / "experiments"  # in the wheel
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
        UserError: it is no YAML, or a key is missing or unknown; the message names it.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no YAML: {getattr(error, 'problem', None) or error}.") from error
    known = [entry.name for entry in fields(Grid) if entry.name != "folder"]
    _check_keys(content, known, ("title", "protocol", "data", "runs", "cells"), str(path))
    for name, run in content["runs"].items():
        needed = ("command",) if isinstance(run, dict) and run.get("command") == "masks" else ("command", "config")
        _check_keys(run, _RUN_KEYS, needed, f"{path}: runs: {name}")
        if run["command"] not in ("fit", "test", "masks"):
            raise UserError(f"{path}: runs: {name}: command must be fit, test or masks, got {run['command']!r}.")
    for place, cell in enumerate(content["cells"], 1):
        _check_keys(cell, _CELL_KEYS, ("labels",), f"{path}: cell {place}")
    return Grid(**content, folder=path.parent)


def with_axes(grid: Grid, changes: Sequence[str]) -> Grid:
    """Return the grid with other values of its axes: ``backbone=dino_vits8,dino_vits16``.

    Raises:
        UserError: no such axis, or no value.
    """
    axes = dict(grid.axes)
    for change in changes:
        name, _, values = change.partition("=")
        if name not in axes or not values:
            allowed = ", ".join(f"{key}={','.join(map(str, own))}" for key, own in axes.items())
            raise UserError(f"--axis {change}: write NAME=VALUE,VALUE. Axes here: {allowed or 'none'}.")
        axes[name] = values.split(",")
    return replace(grid, axes=axes)


def short_path(path: Path) -> Path:
    """Return the path from the working folder if it lies in it, else the whole."""
    path, here = path.resolve(), Path.cwd()
    return Path(os.path.relpath(path, here)) if path.is_relative_to(here) else path


def _check_keys(content: Any, known: Sequence[str], needed: Sequence[str], where: str) -> None:
    if not isinstance(content, dict):
        raise UserError(f"{where} must hold 'key: value' lines: {', '.join(known)}.")
    if unknown := [key for key in content if key not in known]:
        raise UserError(f"{where} has an unknown key {unknown[0]!r}. Allowed: {', '.join(known)}.")
    if missing := [key for key in needed if key not in content]:
        raise UserError(f"{where} lacks {missing[0]!r}. Needed: {', '.join(needed)}.")
