"""What an experiment runs and what its table shows: the runs and the cells of a grid, every choice made."""

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segtricks.errors import UserError
from segtricks.experiments.grid import Grid, short_path
from segtricks.experiments.values import check_row
from segtricks.experiments.words import DATA_OPTIONS, as_text, mask_folder, option_pairs


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
        UserError: two runs have one name, two cells the same labels, a cell's run is not there, no run gives its row,
            or a folder of masks is not there.
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
            if run_of is not None:
                check_row(filled.get("row", ""), f"The cell {label_text(filled['labels'])}")
            cell = Cell(filled["labels"], None if run_of in unscored else run_of, filled.get("row", ""))
            if cell not in cells:
                cells.append(cell)
    bases = {run.base for run in runs.values()}
    for place, cell in enumerate(cells):
        if cell.run is not None and cell.run not in bases:
            raise UserError(f"A cell names the run {cell.run}, which is none. Runs: {', '.join(sorted(bases))}.")
        if any(other.labels == cell.labels for other in cells[:place]):
            raise UserError(
                f"Two cells have the same labels: {label_text(cell.labels)}.\nNext: give them different ones."
            )
    return Plan(grid, runs, cells)


def label_text(labels: Mapping[str, Any]) -> str:
    """Return a cell's labels in words."""
    return ", ".join(f"{key}={as_text(value)}" for key, value in labels.items())


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
    config = str(short_path(beside)) if beside.is_file() else entry["config"]
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
    if isinstance(value, list):
        return [_fill(inner, axes) for inner in value]
    if isinstance(value, str):
        for name, text in axes.items():
            value = value.replace(f"{{{name}}}", text)
    return value


def _plain(name: str) -> str:
    return re.sub(r"[^\w.+=,@-]+", "-", name).strip("-.")
