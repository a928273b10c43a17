"""Stages of a long command: commands of segtricks, each in a process of its own, and a folder that remembers them."""

import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from segtricks.data import SaliencyDataModule
from segtricks.errors import Stopped, UserError
from segtricks.experiments.run import PROGRAM
from segtricks.runs import RUNS, replacing


def run_stage(home: Path, name: str, words: Sequence[str], hint: str = "") -> None:
    """Run a command in a process of its own, which writes to this terminal, unless it has ended in this folder before.

    Args:
        home: folder of all stages.
        name: of the stage in it.
        words: of the command.
        hint: what to add where it fails.

    Raises:
        UserError: it failed.
        Stopped: by Ctrl-C.
    """
    if finished_words(home, name) is None:
        _call(words, home, hint)
        with replacing(_marker(home, name)) as temporary:
            temporary.write_text(shlex.join(words) + "\n", encoding="utf-8")


def finished_words(home: Path, name: str) -> str | None:
    """Return the command of a stage that has ended, None of one that has not."""
    marker = _marker(home, name)
    return marker.read_text(encoding="utf-8").rstrip("\n") if marker.is_file() else None


def training_photographs(data: SaliencyDataModule) -> list[Path]:
    """Return all training photographs, held-out ones included.

    Raises:
        UserError: they are not files.
    """
    paths = sorted([*data.train_dataset.images, *data.held_out_dataset.images])
    if not paths[0].is_file():
        raise UserError(f"The stages need photographs that are files; {paths[0]} is not one.")
    return paths


def list_photographs(paths: Sequence[Path], home: Path) -> None:
    """Write photographs to the list that stages read, ``photographs.txt`` in ``home``."""
    with replacing(home / "photographs.txt") as temporary:
        temporary.write_text("".join(f"{path.absolute()}\n" for path in paths), encoding="utf-8")


def _marker(home: Path, name: str) -> Path:
    return home / "stages" / f"{name}.txt"


def _call(words: Sequence[str], home: Path, hint: str) -> None:
    again = f"Next, to go on: segtricks fit --resume --name {home.relative_to(RUNS)}"
    with subprocess.Popen([*PROGRAM, *words]) as child:
        try:
            status = child.wait()
        except (KeyboardInterrupt, SystemExit) as stop:
            if isinstance(stop, SystemExit):  # SIGTERM is for this process alone; the terminal sends Ctrl-C to both
                child.terminate()
            child.wait()  # it may have to save what it has
            raise Stopped(f"Stopped. {again}") from None
    if status == Stopped.status:
        raise Stopped(f"Stopped. {again}")
    if status:
        raise UserError(f"`segtricks {shlex.join(words)}` failed, see above. {hint}\n{again}")
