"""The grid of an experiment: ``grid.yaml``, read and expanded to its runs and the cells of its table."""

import itertools
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import yaml

from segtricks.commands.experiment_words import DATA_OPTIONS, as_text, mask_folder, option_pairs
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


@dataclass(frozen=True)
class Run:
    """What one subprocess does: train with one seed and score, or score a method without training on one data set.

    Args:
        name: of its folder below ``runs/EXPERIMENT``.
        base: the name without seed or data set.
        command: ``fit``, ``test`` or ``masks``.
        config: name or path; the folder of masks.
        words: its options.
        data: test sets.
        protocol: how they are scored.
        seed: of a ``fit``.
    """

    name: str
    base: str
    command: str
    config: str
    words: tuple[str, ...]
    data: tuple[str, ...]
    protocol: str
    seed: int | None = None

    def command_line(self, experiment: str) -> list[str]:
        """Return the words that start it, in a folder of its own."""
        name = ["--name", f"{experiment}/{self.name}"]
        if self.command == "masks":
            return ["experiment", "masks", "--masks", self.config, *name, *self.words, *self.scoring_words()]
        words = [self.command, "--config", self.config, *name, *self.words]
        if self.command == "test":
            return [*words, *self.scoring_words()]
        tests = ["--data.test", json.dumps(list(self.data)), "--model.protocol", self.protocol]
        return [*words, "--seed_everything", str(self.seed), *tests]

    def scoring_words(self) -> list[str]:
        """Return the words with which ``test`` scores what is asked."""
        return ["--data", *self.data, "--protocol", self.protocol]


@dataclass(frozen=True)
class Cell:
    """A row of the table.

    Args:
        labels: its columns of text.
        run: base name of the runs that give its figures; None for published numbers alone.
        row: of their results, for example ``mask + guided filter``.
    """

    labels: dict[str, Any]
    run: str | None
    row: str


@dataclass(frozen=True)
class Plan:
    """A grid with every choice made: what is run, and what the table shows."""

    grid: Grid
    runs: dict[str, Run]
    cells: list[Cell]

    def cells_of(self, run: Run) -> list[Cell]:
        """Return the cells that take their figures from a run."""
        return [cell for cell in self.cells if cell.run == run.base]


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
    return _short(found[0])


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


def expand(
    grid: Grid,
    train: str | None = None,
    subset: int | None = None,
    extra: Sequence[str] = (),
    masks: Mapping[str, Path] | None = None,
) -> Plan:
    """Make every run and cell of the grid, each once.

    Args:
        grid: the grid.
        train: another training set.
        subset: use only so many images of the training set and of each test set.
        extra: option words for every run; ``{backbone}`` is the value of the run's option ``model.backbone``.
        masks: folders of masks by name of the run that scores them.

    Raises:
        UserError: two runs have one name, two cells the same labels, a cell's run is not there, or a folder of masks.
    """
    masks = masks or {}
    known = [name for name, entry in grid.runs.items() if entry["command"] == "masks"]
    if unknown := [name for name in masks if name not in known]:
        raise UserError(
            f"--masks {unknown[0]}=…: no such method. Masks are asked for here: {', '.join(known) or 'none'}."
        )
    unscored = {_plain(name) for name in known if name not in masks}
    runs: dict[str, Run] = {}
    cells: list[Cell] = []
    for values in itertools.product(*grid.axes.values()):
        axes = {name: str(value) for name, value in zip(grid.axes, values, strict=True)}
        for base, entry in grid.runs.items():
            if entry["command"] == "masks":
                found = _mask_runs(grid, base, entry, masks[base], subset, extra) if base in masks else []
                runs.update({run.name: run for run in found})
                continue
            for run in _runs_of(grid, _fill(base, axes), _fill(entry, axes), train, subset, extra):
                if runs.setdefault(run.name, run) != run:
                    raise UserError(
                        f"The runs: {base} would train different things under the name {run.name}.\n"
                        f"Next: write {{axis}} of every axis that its options use into its name."
                    )
        for entry in grid.cells:
            filled = _fill(entry, axes)
            run_of = _plain(filled["run"]) if "run" in filled else None
            cell = Cell(filled["labels"], None if run_of in unscored else run_of, filled.get("row", ""))
            if cell not in cells:
                cells.append(cell)
    bases = {run.base for run in runs.values()}
    for place, cell in enumerate(cells):
        if cell.run is not None and cell.run not in bases:
            raise UserError(f"A cell names the run {cell.run}, which is none. Runs: {', '.join(sorted(bases))}.")
        if any(other.labels == cell.labels for other in cells[:place]):
            raise UserError(f"Two cells have the same labels: {label_text(cell)}.\nNext: give them different ones.")
    return Plan(grid, runs, cells)


def label_text(cell: Cell) -> str:
    """Return a cell's labels in words."""
    return ", ".join(f"{key}={as_text(value)}" for key, value in cell.labels.items())


def _runs_of(
    grid: Grid, base: str, entry: Mapping[str, Any], train: str | None, subset: int | None, extra: Sequence[str]
) -> Iterator[Run]:
    base = _plain(base)
    fit = entry["command"] == "fit"
    options = {key: as_text(value) for key, value in (entry.get("options") or {}).items()}
    words = [word for key, value in options.items() for word in (f"--{key}", value)]
    words += ["--data.train", train] if train and fit else []
    words += ["--data.train_limit", str(subset)] if subset and fit else []
    words += ["--data.test_limit", str(subset)] if subset else []
    leaves = {key.rpartition(".")[2]: value for key, value in options.items()}
    words += [_fill(word, leaves) for word in extra]
    beside = grid.folder / entry["config"]
    config = str(_short(beside)) if beside.is_file() else entry["config"]
    protocol = entry.get("protocol", grid.protocol)
    if fit:
        for seed in grid.seeds:
            yield Run(f"{base}-s{seed}", base, "fit", config, tuple(words), tuple(grid.data), protocol, seed)
    else:
        # One set at a time: a stop costs no more than the set at work.
        for data in grid.data:
            yield Run(f"{base}-{_plain(data)}", base, "test", config, tuple(words), (data,), protocol)


def _mask_runs(
    grid: Grid, base: str, entry: Mapping[str, Any], folder: Path, subset: int | None, extra: Sequence[str]
) -> Iterator[Run]:
    pairs = option_pairs(extra)
    words = [word for name in DATA_OPTIONS if name in pairs for word in (f"--{name}", pairs[name])]
    words += ["--data.test_limit", str(subset)] if subset else []
    for data in grid.data:
        own = mask_folder(base, folder, data, alone=len(grid.data) == 1)
        protocol = entry.get("protocol", grid.protocol)
        yield Run(f"{_plain(base)}-{_plain(data)}", _plain(base), "masks", str(own), tuple(words), (data,), protocol)


def _fill(value: Any, axes: Mapping[str, str]) -> Any:
    if isinstance(value, Mapping):
        return {key: _fill(inner, axes) for key, inner in value.items()}
    if isinstance(value, str):
        for name, text in axes.items():
            value = value.replace(f"{{{name}}}", text)
    return value


def _plain(name: str) -> str:
    return re.sub(r"[^\w.+=,@-]+", "-", name).strip("-.")


def _short(path: Path) -> Path:
    path, here = path.resolve(), Path.cwd()
    return Path(os.path.relpath(path, here)) if path.is_relative_to(here) else path


def _check_keys(content: Any, known: Sequence[str], needed: Sequence[str], where: str) -> None:
    if not isinstance(content, dict):
        raise UserError(f"{where} must hold 'key: value' lines: {', '.join(known)}.")
    if unknown := [key for key in content if key not in known]:
        raise UserError(f"{where} has an unknown key {unknown[0]!r}. Allowed: {', '.join(known)}.")
    if missing := [key for key in needed if key not in content]:
        raise UserError(f"{where} lacks {missing[0]!r}. Needed: {', '.join(needed)}.")
