"""The options, weights and data of an experiment's runs, looked at before the first of them starts."""

import json
import subprocess
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path

from segtricks.errors import UserError
from segtricks.experiments.plan import Run

_PROGRAM = [sys.executable, "-m", "segtricks", "experiment", "--check"]


def check_runs(runs: Iterable[Run], files: bool = True) -> None:
    """Look at the options, files of weights and data sets of ``fit`` and ``test`` runs.

    This takes a process of its own, since Lightning would stay in the memory of this one as long as the runs take.

    Args:
        runs: the runs.
        files: look for weights and data too; not for runs on other machines, which may have what this one lacks.

    Raises:
        UserError: what the first wrong run would end with.
    """
    wanted = {_words(run): run.name for run in reversed(list(runs)) if run.command != "masks"}
    if not wanted:
        return
    asked = json.dumps([files, [(name, *words) for words, name in reversed(wanted.items())]])
    done = subprocess.run(_PROGRAM, input=asked, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"{done.stderr.strip().removeprefix('segtricks: ')}\nNothing was started.")


def main() -> None:
    """Look at the runs on standard input: ``[files, [[name, command, config, word, …], …]]`` as JSON.

    Raises:
        UserError: the first mistake, with the run's name.
    """
    from segtricks.commands.lightning_cli import SegtricksCLI, quiet
    from segtricks.commands.options import config_words
    from segtricks.data import SaliencyDataModule

    class Parsed(SegtricksCLI):
        def instantiate_classes(self) -> None:
            """Make nothing."""

        def after_instantiate_classes(self) -> None:
            """Nothing to look at."""

    quiet()
    warnings.simplefilter("ignore")
    opened = set()
    files, runs = json.load(sys.stdin)
    for name, command, config, *words in runs:
        try:
            options = Parsed([*config_words([config]), *words]).config
            if not files:
                continue
            weights = options.model.init_args.get("backbone_checkpoint")
            if weights and not Path(weights).is_file():
                raise UserError(f"model.backbone_checkpoint: there is no file {weights}.")
            key = command, repr(options.data)
            if options.data.class_path.rpartition(".")[2] == SaliencyDataModule.__name__ and key not in opened:
                data = SaliencyDataModule(**vars(options.data.init_args))
                data.check() if command == "fit" else data.test_datasets
                opened.add(key)
        except UserError as error:
            raise UserError(f"{name}: {error}") from error


def _words(run: Run) -> tuple[str, ...]:
    scored = ("--data.test", json.dumps(list(run.data)), "--model.protocol", run.protocol)
    return (run.command, run.config, *run.words, *scored)
