"""``segtricks experiment``: a whole table, from one file: every training, its scores, the table and its figure."""

import re
import shlex
import warnings
from argparse import Namespace
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from segtricks.commands.options import OptionParser, config_words
from segtricks.errors import UserError
from segtricks.experiments.grid import Grid, read_grid, with_axes, with_masks, with_options
from segtricks.experiments.plan import Run, expand, label_text
from segtricks.experiments.plan_file import reuse, write_plan
from segtricks.experiments.run import Experiment, locked, run_here
from segtricks.experiments.slurm import submit
from segtricks.experiments.table import collect
from segtricks.packaged import find_grid, packaged_experiments
from segtricks.runs import check_name

USAGE = """NAME [--axis backbone=dino_vits8,…] [--data ecssd …] [--any.option value]

  NAME                 table1 … table5, mini_ablation, mini_synthetic, training_free, or the path of a grid
  --axis NAME=A,B      other values of an axis of the grid
  --data SET …         other test sets
  --train SET          another training set
  --seeds N …          0 if the grid says nothing else
  --protocol NAME      another protocol
  --subset N           only N images of every set
  --masks METHOD=DIR   masks of a method that the grid has rows for (table5: MOVE), in DIR/SET for each test set; they
                       are scored plain, with the guided filter and with the bilateral solver. Or those of the training
                       set that a network learns (table1: selfmask-MOVE, …), in DIR
  --reuse runs/OTHER … take over finished runs of other experiments that train the same
  --name NAME          folder below runs/; the experiment's name if left out
  --dry-run            look at the options, print the commands and which cells share them, and do nothing
  --launcher slurm     one job for each run; the same command later collects what is finished
  --sbatch="OPTIONS"   for every job: --sbatch="--gres=gpu:1 --time=24:00:00"; 4 hours if it has no time, after which
                       a run goes on in a job of its own
  --any.option value   goes to every run; {backbone} in it is the run's: --model.backbone_checkpoint {backbone}.pth

Everything lies in runs/NAME: runs, logs, plan.yaml, results.csv, table.md and figure.png. Called again, it goes on."""

_OURS = {"data.test": "--data", "model.protocol": "--protocol", "seed_everything": "--seeds"}


class SomeFailed(UserError):
    """Some runs failed; the others have their results."""

    status = 1


def main(words: Sequence[str]) -> None:
    """Run the command with its option words."""
    parser = _parser()
    if {"-h", "--help"} & set(words[:1]):
        return parser.print_usage()
    words = _name_first(words)
    options, extra = parser.parse_known_args(list(words[1:]))
    _check_options(options, extra)
    path = find_grid(words[0])
    plan = expand(_changed(read_grid(path), options), extra)
    experiment = Experiment(options.name or _name(path), plan, f"segtricks experiment {shlex.join(words)}")
    check_name(experiment.name)
    todo = [run for run in plan.runs.values() if options.dry_run or not experiment.is_finished(run)]
    check_runs(todo, files=not options.dry_run and options.launcher == "local")
    if options.dry_run:
        _show(experiment)
    else:
        _run(experiment, options)


def _name_first(words: Sequence[str]) -> list[str]:
    """The words with the name of the experiment first, wherever it was written.

    Raises:
        UserError: there is none.
    """
    if words and not words[0].startswith("-"):
        return list(words)
    joined: list[str] = []
    for word in words:  # what follows an option of a run is its value
        last = joined[-1] if joined else ""
        if last.startswith("--") and "." in last and "=" not in last and not word.startswith("--"):
            joined[-1] = f"{last}={word}"
        else:
            joined.append(word)
    _, extra = _parser().parse_known_args(joined)
    name = next((word for word in extra if not word.startswith("-")), None)
    if name is None:
        raise UserError(f"Which experiment? Write its name first.\nUsage: segtricks experiment {USAGE}")
    joined.remove(name)
    return [name, *joined]


def check_runs(runs: Iterable[Run], files: bool = True) -> None:
    """Look at the options, files of weights and data sets of ``fit`` and ``test`` runs before any of them starts.

    Args:
        runs: the runs.
        files: look for weights and data too; not for runs on other machines, which may have what this one lacks.

    Raises:
        UserError: what the first wrong run would end with.
    """
    looked_at = set()
    for run in runs:
        same = replace(run, name="", base="", seed=None)
        if run.command == "masks" or same in looked_at:
            continue
        looked_at.add(same)
        try:
            _check_run(run, files)
        except UserError as error:
            raise UserError(f"{run.name}: {error}\nNothing was started.") from error


def _check_run(run: Run, files: bool) -> None:
    from segtricks.commands.lightning_cli import SegtricksCLI, quiet
    from segtricks.data import SaliencyDataModule

    class Parsed(SegtricksCLI):
        def instantiate_classes(self) -> None:
            """Make nothing."""

        def after_instantiate_classes(self) -> None:
            """Nothing to look at."""

    with warnings.catch_warnings():
        quiet()
        warnings.simplefilter("ignore")
        options = Parsed([*config_words([run.config]), *run.words, *run.fit_words()]).config
        weights = options.model.init_args.get("backbone_checkpoint")
        if files and weights and not Path(weights).is_file():
            raise UserError(f"model.backbone_checkpoint: there is no file {weights}.")
        if files and options.data.class_path.rpartition(".")[2] == SaliencyDataModule.__name__:
            data = SaliencyDataModule(**vars(options.data.init_args))
            data.check() if run.command == "fit" else data.test_datasets


def _check_options(options: Namespace, extra: Sequence[str]) -> None:
    if options.subset is not None and options.subset < 1:
        raise UserError(f"--subset is {options.subset}: pass 1 or more, for example --subset 40.")
    for word in extra:
        if ours := _OURS.get(word.removeprefix("--").split("=")[0]):
            raise UserError(f"{word} is for a single run: for all runs of an experiment pass {ours}.")
        if word == "--resume":
            raise UserError("Called again, an experiment goes on by itself. Next: leave --resume out.")


def _changed(grid: Grid, options: Namespace) -> Grid:
    """The grid with what the command line says instead."""
    grid = with_axes(grid, options.axis)
    if options.protocol:
        runs = {name: replace(run, protocol=None) for name, run in grid.runs.items()}
        grid = replace(grid, protocol=options.protocol, runs=runs)
    masks = {}
    for text in options.masks:
        name, _, folder = text.partition("=")
        if not name or not folder:
            raise UserError(f"--masks {text}: write METHOD=DIR, for example --masks MOVE=move_masks.")
        masks[name] = folder
    grid = with_masks(grid, masks)
    grid = with_options(grid, {"data.train": options.train, "data.train_limit": options.subset}, ["fit"])
    grid = with_options(grid, {"data.test_limit": options.subset}, ["fit", "test", "masks"])
    return replace(grid, data=options.data or grid.data, seeds=options.seeds or grid.seeds)


def _name(path: Path) -> str:
    """What the folder is called: ``table3`` for one of the paper, else the name of the grid or of its folder."""
    packaged = path in packaged_experiments().values()
    return re.sub(r"^(table\d+)_.*", r"\1", path.stem if packaged else path.resolve().parent.name)


def _run(experiment: Experiment, options: Namespace) -> None:
    with locked(experiment.home) as lock:
        write_plan(experiment)
        for linked in reuse(experiment, options.reuse):
            print(f"Taken over: {linked}")
        failures = submit(experiment, options.sbatch) if options.launcher == "slurm" else run_here(experiment, lock)
        files = collect(experiment)
    print(f"\n{(experiment.home / 'table.md').read_text(encoding='utf-8')}\n{', '.join(files)} in {experiment.home}")
    if failures:
        runs = "1 run" if len(failures) == 1 else f"{len(failures)} runs"
        lines = [f"  {failure.run}: {failure.reason}\n    log: {failure.log}" for failure in failures]
        raise SomeFailed("\n".join([f"{runs} failed:", *lines, f"Next, to try again: {experiment.again}"]))


def _show(experiment: Experiment) -> None:
    plan = experiment.plan
    for run in plan.runs.values():
        for cell in plan.cells_of(run):
            print(f"# {label_text(cell.labels)} (row: {cell.row})")
        print(shlex.join(["segtricks", *run.command_line(experiment.name)]) + "\n")
    cells = sum(cell.run is not None for cell in plan.cells)
    print(f"# {len(plan.runs)} runs for {cells} cells, into {experiment.home}")


def _parser() -> OptionParser:
    parser = OptionParser("experiment", USAGE)
    for name in ("--axis", "--data", "--reuse"):
        parser.add_argument(name, nargs="+", action="extend", default=[], type=Path if name == "--reuse" else str)
    parser.add_argument("--masks", action="append", default=[])
    parser.add_argument("--seeds", nargs="+", type=int)
    parser.add_argument("--train")
    parser.add_argument("--protocol")
    parser.add_argument("--subset", type=int)
    parser.add_argument("--name")
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--launcher", choices=("local", "slurm"), default="local")
    parser.add_argument("--sbatch", default="")
    return parser
