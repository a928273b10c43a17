"""The grid of an experiment: a YAML file that says what is run and what its table shows."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from jsonargparse import ArgumentError, ArgumentParser
from jsonargparse.typing import NonNegativeInt

from segtricks.errors import UserError
from segtricks.metrics.measures import MEASURES
from segtricks.packaged import read_yaml

Value = str | int | float | bool | list | dict | None  # text first: "5" in quotes stays text
Metric: TypeAlias = Literal[tuple(MEASURES)]  # type: ignore[valid-type]


@dataclass(frozen=True)
class GridRun:
    """Something to run; every text may hold ``{axis}``.

    Args:
        command: ``fit``, ``test`` for a method without training, or ``masks`` for a method whose masks the user
            brings: without them its cells show published numbers alone.
        config: a packaged name, or a file next to the grid; of ``masks`` the folder, once it is given.
        options: by name. A ``fit`` whose ``data.masks`` is null trains on masks that the user brings, too.
        protocol: another than the grid's.
    """

    command: Literal["fit", "test", "masks"]
    config: str = ""
    options: dict[str, Value] = field(default_factory=dict)
    protocol: str | None = None

    @property
    def brings_masks(self) -> bool:
        """Whether the user has still to bring its masks."""
        return not self.config or self.options.get("data.masks", "") is None


@dataclass(frozen=True)
class Cell:
    """A row of the table; every text may hold ``{axis}``.

    Args:
        labels: its columns of text.
        run: name of the run that gives its numbers; None for published numbers alone.
        row: of the run's results, for example ``mask + guided filter``.
    """

    labels: dict[str, Value]
    run: str | None = None
    row: str = ""


@dataclass(frozen=True)
class Grid:
    """Content of the file.

    Args:
        title: what the table shows.
        protocol: named protocol of every run that has none of its own.
        data: test sets.
        runs: by name; the name may hold ``{axis}`` too.
        cells: rows of the table.
        paper: number of the paper's table, where the published numbers are looked up.
        metrics: columns of the table.
        seeds: of every ``fit``; a ``test`` has no chance in it and runs once.
        axes: values by name; runs and cells exist once for each combination.
        folder: where the file lies.
    """

    title: str
    protocol: str
    data: list[str]
    runs: dict[str, GridRun]
    cells: list[Cell]
    paper: int | None = None
    metrics: list[Metric] = field(default_factory=lambda: ["acc", "iou", "max_fbeta"])
    seeds: list[NonNegativeInt] = field(default_factory=lambda: [0])
    axes: dict[str, list[str | int | float | bool]] = field(default_factory=dict)
    folder: Path = Path()


def read_grid(path: Path) -> Grid:
    """Read a grid.

    Raises:
        UserError: it is not YAML, a key is missing or unknown, a value has a wrong type, or a list is empty.
    """
    content = read_yaml(path, "title: Ablation")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Grid, skip={"folder"})
    try:
        parsed = parser.instantiate(parser.parse_object(_with_lists(content)))
    except ArgumentError as error:
        raise UserError(f"{path}: {_in_one_line(str(error))}.") from None
    grid = Grid(**vars(parsed), folder=path.parent)
    lists = {"data": grid.data, "metrics": grid.metrics, "seeds": grid.seeds, **grid.axes}
    if empty := [name for name, values in lists.items() if not values]:
        raise UserError(f"{path}: {empty[0]} is empty: it needs one value or more.")
    if without := [name for name, run in grid.runs.items() if run.command != "masks" and not run.config]:
        raise UserError(f"{path}: the run {without[0]} has no config, such as 'config: sempart'.")
    return grid


def with_axes(grid: Grid, changes: Sequence[str]) -> Grid:
    """Return the grid with other values of its axes: ``backbone=dino_vits8,dino_vits16``.

    Raises:
        UserError: no such axis, or no value.
    """
    axes = dict(grid.axes)
    for change in changes:
        name, _, values = change.partition("=")
        if name not in axes or not values:
            allowed = ", ".join(f"{key}={','.join(map(str, own))}" for key, own in axes.items()) or "none"
            raise UserError(f"--axis {change}: write NAME=VALUE,VALUE. Axes here: {allowed}.")
        axes[name] = list(values.split(","))
    return replace(grid, axes=axes)


def with_options(grid: Grid, options: Mapping[str, Any], commands: Sequence[str]) -> Grid:
    """Return the grid with options for every run of some commands; those that are None are left out."""
    given = {key: value for key, value in options.items() if value is not None}
    runs = {
        name: replace(run, options=run.options | given) if run.command in commands else run
        for name, run in grid.runs.items()
    }
    return replace(grid, runs=runs)


def with_masks(grid: Grid, folders: Mapping[str, str]) -> Grid:
    """Return the grid with folders of masks, by the name of the run that scores them or trains on them.

    Raises:
        UserError: no run of that name asks for masks.
    """
    known = [name for name, run in grid.runs.items() if run.brings_masks]
    if unknown := [name for name in folders if name not in known]:
        asked = ", ".join(known) or "none"
        raise UserError(f"--masks {unknown[0]}=…: no such method. Masks are asked for here: {asked}.")
    return replace(grid, runs=grid.runs | {name: _given(grid.runs[name], folders[name]) for name in folders})


def _given(run: GridRun, folder: str) -> GridRun:
    if run.command == "masks":
        return replace(run, config=folder)
    return replace(run, options=run.options | {"data.masks": folder})


def _with_lists(content: dict[str, Any]) -> dict[str, Any]:
    """The content without empty keys, and with single values as lists of one."""
    content = {key: value for key, value in content.items() if value is not None}
    for key in ("data", "metrics", "seeds"):
        if key in content:
            content[key] = _as_list(content[key])
    if isinstance(content.get("axes"), dict):
        content["axes"] = {name: _as_list(values) for name, values in content["axes"].items()}
    return content


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _in_one_line(message: str) -> str:
    """The key, what was expected and what was found, of jsonargparse's message of many lines."""
    keys = re.findall(r'Parser key "([^"]+)"', message)
    message = re.sub(r"Subtypes: \[(.*)\]", r"Expected one of \1", message)
    message = re.sub(r"(?:<class '(?:\w+\.)*(\w+)'>|typing\.(Literal))", r"\1\2", message)
    kept = re.findall(r"^ *(Expected .*|Given value: .*|Option .*|Not of type .*|the following .*)$", message, re.M)
    return ": ".join([*keys, " ".join(kept) or message])
