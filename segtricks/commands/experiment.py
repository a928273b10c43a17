"""``segtricks experiment``: a whole table, from one file: every training, its scores, the table and its figure."""

import re
import shlex
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

from segtricks.commands import experiment_check
from segtricks.commands.experiment_check import check_runs
from segtricks.commands.options import OptionParser
from segtricks.errors import UserError
from segtricks.experiments.grid import find_grid, read_grid, with_axes
from segtricks.experiments.plan import expand, label_text
from segtricks.experiments.results import collect
from segtricks.experiments.run import Failure, alone, run_here
from segtricks.experiments.slurm import submit
from segtricks.experiments.state import Experiment, reuse, write_plan
from segtricks.runs import check_name

USAGE = """NAME [--axis backbone=dino_vits8,…] [--data ecssd …] [--any.option value]

  NAME                 table1 … table5, mini_ablation, mini_synthetic, training_free, or the path of a grid.yaml
  --axis NAME=A,B      other values of an axis of the grid
  --data SET …         other test sets
  --train SET          another training set
  --seeds N …          0 if the grid says nothing else
  --protocol NAME      another protocol
  --subset N           only N images of every set
  --masks METHOD=DIR   masks of a method that the grid has rows for (table5: MOVE), in DIR/SET for each test set; they
                       are scored plain, with the guided filter and with the bilateral solver
  --reuse runs/OTHER … take over finished runs of other experiments that train the same
  --name NAME          folder below runs/; the experiment's name if left out
  --dry-run            look at the options, print the commands and which cells share them, and do nothing
  --launcher slurm     one job for each run; the same command later collects what is finished
  --sbatch="OPTIONS"   for every job: --sbatch="--gres=gpu:1 --time=24:00:00"
  --any.option value   goes to every run; {backbone} in it is the run's: --model.backbone_checkpoint {backbone}.pth

Everything lies in runs/NAME: runs, logs, plan.yaml, results.csv, table.md and figure.png. Called again, it goes on."""

_OF_FIT = (
    *("test", "wandb", "panels", "save_every", "max_bad_share", "on_collapse", "provenance", "cache_features"),
    *("cache_dir", "model", "trainer", "optimizer", "lr_scheduler"),
)
"""Options without a dot that every run takes."""
_OURS = {"data.test": "--data", "model.protocol": "--protocol", "seed_everything": "--seeds"}


class SomeFailed(UserError):
    """Some runs failed; the others have their results."""

    status = 1


def main(words: Sequence[str]) -> None:
    """Run the command with its option words."""
    parser = _parser()
    if words[:1] == ["masks"]:
        from segtricks.commands import experiment_masks

        return experiment_masks.main(words[1:])
    if list(words) == ["--check"]:  # check_runs starts it; no experiment can have this name
        return experiment_check.main()
    if words and not words[0].startswith("-"):
        name, words = words[0], words[1:]
    elif {"-h", "--help"} & set(words):
        parser.print_usage()
        return
    else:
        raise UserError(f"Which experiment? Write its name first.\nUsage: segtricks experiment {USAGE}")
    options, extra = parser.parse_known_args(list(words))
    _check_extra(parser, extra)
    if options.subset is not None and options.subset < 1:
        raise UserError(f"--subset is {options.subset}: pass 1 or more, for example --subset 40.")
    path = find_grid(name)
    grid = with_axes(read_grid(path), options.axis)
    grid = replace(grid, data=options.data or grid.data, seeds=options.seeds or grid.seeds)
    if options.protocol:
        runs = {base: {**run, "protocol": options.protocol} for base, run in grid.runs.items()}
        grid = replace(grid, protocol=options.protocol, runs=runs)
    plan = expand(grid, options.train, options.subset, extra, _masks(options.masks))
    folder = options.name or re.sub(r"^(table\d+)_.*", r"\1", path.resolve().parent.name)
    check_name(folder)
    experiment = Experiment(folder, plan, f"segtricks experiment {shlex.join([name, *words])}")
    if options.dry_run:
        check_runs(plan.runs.values(), files=False)
        return _show(experiment)
    _run(experiment, options)


def _check_extra(parser: OptionParser, extra: Sequence[str]) -> None:
    """Refuse options for a single run, and mistyped ones of the experiment's own."""
    own = [option[2:] for option in parser._option_string_actions if option.startswith("--")]
    for word in extra:
        name = word.removeprefix("--").split("=")[0]
        if ours := _OURS.get(name):
            raise UserError(f"{word} is for a single run: for all runs of an experiment pass {ours}.")
        if word == "--resume":
            raise UserError("Called again, an experiment goes on by itself. Next: leave --resume out.")
        if not word.startswith("--") or "." in name or name.replace("-", "_") in _OF_FIT:
            continue
        if close := get_close_matches(name.lower().replace("_", "-"), own, n=1, cutoff=0.65):
            allowed = ", ".join(f"--{option}" for option in own)
            raise UserError(
                f"Unknown option --{name}. Did you mean --{close[0]}?\n"
                f"Allowed: {allowed}; those of a run, such as --data.batch_size."
            )


def _run(experiment: Experiment, options: Namespace) -> None:
    todo = [run for run in experiment.plan.runs.values() if not experiment.is_finished(run)]
    check_runs(todo, files=options.launcher == "local")
    with alone(experiment.home) as lock:
        write_plan(experiment)
        for linked in reuse(experiment, options.reuse):
            print(f"Taken over: {linked}")
        if options.launcher == "slurm":
            failures = submit(experiment, shlex.split(options.sbatch))
        else:
            failures = run_here(experiment, lock)
        files = collect(experiment)
    print(f"\n{(experiment.home / 'table.md').read_text(encoding='utf-8')}\n{', '.join(files)} in {experiment.home}")
    if failures:
        raise SomeFailed(_told(failures, experiment.again))


def _told(failures: list[Failure], again: str) -> str:
    lines = [f"  {failure.run}: {failure.reason}\n    log: {failure.log}" for failure in failures]
    runs = "1 run" if len(failures) == 1 else f"{len(failures)} runs"
    return "\n".join([f"{runs} failed:", *lines, f"Next, to try again: {again}"])


def _masks(given: Sequence[str]) -> dict[str, Path]:
    pairs = [text.partition("=") for text in given]
    if wrong := [text for text, (name, _, folder) in zip(given, pairs, strict=True) if not name or not folder]:
        raise UserError(f"--masks {wrong[0]}: write METHOD=DIR, for example --masks MOVE=move_masks.")
    return {name: Path(folder) for name, _, folder in pairs}


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
