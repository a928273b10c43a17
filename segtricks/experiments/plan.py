"""What an experiment runs and what its table shows: the runs and the cells of a grid, every choice made."""

import itertools
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, is_dataclass, replace
from pathlib import Path
from typing import Any

from segtricks.errors import UserError
from segtricks.experiments.grid import Cell, Grid, GridRun

ROWS = ("mask", "mask + guided filter", "mask + bilateral solver")
"""What a run can give; written out, because the methods that give them take seconds to import."""

_OF_MASKS = ("data.root", "data.masks", "data.test_limit", "data.num_workers")
"""Of the options for all runs, those that the scoring of masks takes too."""


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
            masks = ["--config", "masks", "--model.folder", self.config]
            return ["test", *masks, *name, *self.words, *self.scoring_words()]
        words = [self.command, "--config", self.config, *name, *self.words]
        if self.command == "test":
            return [*words, *self.scoring_words()]
        return [*words, "--seed_everything", str(self.seed), *self.fit_words()]

    def fit_words(self) -> list[str]:
        """Return the options with which ``fit`` scores what is asked."""
        return ["--data.test", json.dumps(self.data), "--model.protocol", self.protocol]

    def scoring_words(self) -> list[str]:
        """Return the options with which ``test`` scores what is asked."""
        return ["--data", *self.data, "--protocol", self.protocol]


@dataclass(frozen=True)
class Plan:
    """A grid with every choice made: what is run, and what the table shows."""

    grid: Grid
    runs: dict[str, Run]
    cells: list[Cell]

    def cells_of(self, run: Run) -> list[Cell]:
        """Return the cells that take their numbers from a run."""
        return [cell for cell in self.cells if cell.run == run.base]


def expand(grid: Grid, extra: Sequence[str] = ()) -> Plan:
    """Make every run and cell of the grid, each once.

    Args:
        grid: the grid; its runs whose masks are still to be brought are left out.
        extra: option words for every run; ``{backbone}`` is the value of the run's option ``model.backbone``.

    Raises:
        UserError: a text has an axis that does not exist, two runs have one name, two cells the same labels, a cell's
            run does not exist or gives no such row, or a folder of masks is missing.
    """
    runs: dict[str, Run] = {}
    cells: dict[str, Cell] = {}
    for values in itertools.product(*grid.axes.values()):
        axes = {name: str(value) for name, value in zip(grid.axes, values, strict=True)}
        for name, entry in grid.runs.items():
            for run in _runs(grid, _plain(_fill(name, axes)), _fill(entry, axes), extra):
                if runs.setdefault(run.name, run) != run:
                    raise UserError(
                        f"The runs: {run.base} would train different things under the name {run.name}.\n"
                        f"Next: write {{axis}} of every axis that its options use into its name."
                    )
        for row in grid.cells:
            cell = _fill(row, axes)
            labels = label_text(cell.labels)
            if cells.setdefault(labels, cell) != cell:
                raise UserError(f"Two cells have the same labels: {labels}.\nNext: give them different ones.")
    bases = {run.base for run in runs.values()}
    without = {_plain(name) for name, run in grid.runs.items() if run.brings_masks}
    return Plan(grid, runs, [_checked(cell, bases, without) for cell in cells.values()])


def label_text(labels: Mapping[str, Any]) -> str:
    """Return a cell's labels as ``crop=true, backbone=dino_vits8``."""
    return ", ".join(f"{key}={as_text(value)}" for key, value in labels.items())


def as_text(value: Any) -> str:
    """Return a value of YAML as the command line takes it."""
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


def _runs(grid: Grid, base: str, run: GridRun, extra: Sequence[str]) -> Iterator[Run]:
    words, data, protocol = _words(run, extra), tuple(grid.data), run.protocol or grid.protocol
    if run.brings_masks:
        return
    if run.command == "fit":
        for seed in grid.seeds:
            yield Run(f"{base}-s{seed}", base, "fit", _config(grid, run), words, data, protocol, int(seed))
    else:
        # One set at a time: a stop costs no more than the set at work.
        for name in data:
            config = _config(grid, run) if run.command == "test" else _mask_folder(base, run.config, name, data)
            yield Run(f"{base}-{_plain(name)}", base, run.command, config, words, (name,), protocol)


def _words(run: GridRun, extra: Sequence[str]) -> tuple[str, ...]:
    options = {key: as_text(value) for key, value in run.options.items()}
    if run.command == "masks":
        options = {key: value for key, value in (option_pairs(extra) | options).items() if key in _OF_MASKS}
    words = [word for key, value in options.items() for word in (f"--{key}", value)]
    for word in extra if run.command != "masks" else ():
        for key, value in options.items():
            word = word.replace(f"{{{key.rpartition('.')[2]}}}", value)
        words.append(word)
    return tuple(words)


def _config(grid: Grid, run: GridRun) -> str:
    path, here = (grid.folder / run.config).resolve(), Path.cwd()
    if not path.is_file():
        return run.config
    return os.path.relpath(path, here) if path.is_relative_to(here) else str(path)


def _mask_folder(name: str, folder: str, data: str, all_data: Sequence[str]) -> str:
    """The folder of a method's masks of one test set: ``FOLDER/SET``; FOLDER itself if there is no other set."""
    own = Path(folder) / re.sub(r"\[[^\[\]]*\]$", "", Path(data).name)
    if own.is_dir():
        return str(own)
    if len(all_data) == 1 and Path(folder).is_dir():
        return folder
    missing = own if Path(folder).is_dir() else folder
    raise UserError(
        f"--masks {name}={folder}: there is no folder {missing} with the masks of {data}.\n"
        f"Next: one folder for each test set below {folder}, or a single test set with --data."
    )


def _checked(cell: Cell, bases: set[str], without: set[str]) -> Cell:
    """The cell, with its run by the name of the folder, and without one where its masks were not given."""
    if cell.run is None:
        return cell
    run = _plain(cell.run)
    if cell.row not in ROWS:
        raise UserError(
            f"The cell {label_text(cell.labels)}: no run gives the row {cell.row!r}.\nAllowed: {', '.join(ROWS)}."
        )
    if run not in bases | without:
        raise UserError(f"A cell has the run {run}, which does not exist. Runs: {', '.join(sorted(bases))}.")
    return replace(cell, run=run if run in bases else None)


def _fill(value: Any, axes: Mapping[str, str]) -> Any:
    """The value with an axis' value in the place of ``{axis}``, in every text however deep it lies."""
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **_fill(vars(value), axes))
    if isinstance(value, Mapping):
        return {key: _fill(inner, axes) for key, inner in value.items()}
    if isinstance(value, list):
        return [_fill(inner, axes) for inner in value]
    if not isinstance(value, str):
        return value
    if wrong := [name for name in re.findall(r"\{([A-Za-z_][\w-]*)\}", value) if name not in axes]:
        raise UserError(f"{value!r}: {{{wrong[0]}}} is not an axis. Axes of the grid: {', '.join(axes) or 'none'}.")
    for name, text in axes.items():
        value = value.replace(f"{{{name}}}", text)
    return value


def _plain(name: str) -> str:
    return re.sub(r"[^\w.+=,@-]+", "-", name).strip("-.")
