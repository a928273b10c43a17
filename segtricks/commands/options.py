"""Options that a command takes for itself, before the rest goes to the LightningCLI parser."""

import argparse
import difflib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from segtricks.commands.run_options import RUN_OPTIONS, check_run_words
from segtricks.errors import UserError
from segtricks.packaged import check_config, find_config
from segtricks.runs import checkpoint_of
from segtricks.training.hub_runs import find_run

if TYPE_CHECKING:
    import torch

NO_MODEL = "Which model? Pass --run runs/NAME, or --config CONFIG --ckpt_path FILE."


LIST_OPTIONS = "--list-options"
"""Makes any :class:`OptionParser` raise its :class:`OptionNames`."""


class OptionNames(Exception):
    """The options of a parser, for the completion of a shell."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(names)
        self.names = names


class OptionParser(argparse.ArgumentParser):
    """An ``argparse`` parser whose mistakes are a :class:`UserError`; ``-`` and ``_`` in names are the same to it."""

    def __init__(self, command: str, usage: str) -> None:
        super().__init__(prog=f"segtricks {command}", usage=f"segtricks {command} {usage}", allow_abbrev=False)
        self._command, self._own_usage = command, usage

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, with the options of this parser in its own spelling."""
        words = [self._spelt(word) for word in (args or [])]
        if words == [LIST_OPTIONS]:
            raise OptionNames([option for option in self._option_string_actions if option.startswith("--")])
        for word in words:
            self._check_typo(word.partition("=")[0])
        return super().parse_known_args(words, namespace)

    def _spelt(self, word: str) -> str:
        name, equals, value = word.partition("=")
        known = {option.replace("-", "_"): option for option in self._option_string_actions}
        return f"{known.get(name.replace('-', '_'), name)}{equals}{value}" if word.startswith("--") else word

    def _check_typo(self, name: str) -> None:
        """Refuse what is nearly an option of this command; what is not may be one of a run."""
        if not name.startswith("--") or "." in name or name in self._option_string_actions:
            return
        own = {option.replace("-", "_"): option for option in self._option_string_actions}
        near = difflib.get_close_matches(name.replace("-", "_"), own, n=1, cutoff=0.75)
        if near and not _is_run_option(name):
            raise UserError(
                f"Unknown option {name}. Did you mean {own[near[0]]}?\n"
                f"Next: segtricks {self._command} --help lists every option."
            )

    def format_help(self) -> str:
        """The usage; and the list of options, unless the usage describes them."""
        described = any(action.help for action in self._actions if action.dest != "help")
        return super().format_help() if described or self.description else self.format_usage()

    def error(self, message: str) -> NoReturn:
        """Raise the mistake with the command's usage."""
        raise UserError(f"{message[:1].upper()}{message[1:]}.\nUsage: segtricks {self._command} {self._own_usage}")


def _is_run_option(name: str) -> bool:
    return name in ("--seed_everything", "--resume", "--trainer", "--model", "--data") or name[2:] in RUN_OPTIONS


def wants_help(words: Sequence[str]) -> bool:
    """Tell whether ``-h`` or ``--help`` is among the words."""
    return bool({"-h", "--help"} & set(words))


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--run`` and ``--ckpt_path``."""
    parser.add_argument("--run", metavar="runs/NAME", help="the run folder, or hf://owner/name; its best checkpoint")
    parser.add_argument("--ckpt_path", metavar="FILE", help="another checkpoint of the run, or one to go with --config")


def add_page_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--page`` and ``--limit``."""
    parser.add_argument("--page", action="store_true", help="also write page.html: photographs and masks to look at")
    parser.add_argument("--limit", type=count, default=100, metavar="N", help="photographs on the page (default 100)")


def add_device_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--device``, for :func:`checked_device`."""
    parser.add_argument("--device", help="where to compute (default: the first GPU, or else cpu)")


def default_device() -> str:
    """Return the name of the first GPU, of several processes on a machine each its own; ``cpu`` where there is none."""
    import torch  # it takes seconds, and other commands need none

    return f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu"


def checked_device(name: str | None) -> "torch.device":
    """Return the device of this name; None is the first GPU, of several processes on a machine each its own.

    Raises:
        UserError: it cannot be used here.
    """
    import torch  # it takes seconds, and reading the options needs none

    name = name or default_device()
    try:
        return torch.zeros(1, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device {name!r} cannot be used here ({str(error).splitlines()[0]}).") from error


def count(text: str) -> int:
    """Read a number from 1 on, as the ``type`` of an option."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1")
    return int(text)


def config_words(names: Sequence[str]) -> list[str]:
    """Return ``--config PATH`` words for configs given by path or packaged name.

    Raises:
        UserError: if there is no such config, or it is not valid YAML with ``key: value`` lines.
    """
    paths = [find_config(name) for name in names]
    for path in paths:
        check_config(path)
    return [word for path in paths for word in ("--config", str(path))]


def config_name(config: str) -> str:
    """Return what a run with this config is called: its name, or for ``runs/NAME/config.yaml`` the run's."""
    path = Path(config)
    return path.parent.name if path.name == "config.yaml" and path.parent.name else path.stem


def take_configs(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split words into the values of ``--config``/``-c`` (one or several after each) and the rest."""
    configs: list[str] = []
    rest: list[str] = []
    taking = False
    for word in words:
        if word in ("--config", "-c"):
            taking = True
        elif word.startswith("--config="):
            configs.append(word.split("=", 1)[1])
            taking = False
        elif taking and not word.startswith("-"):
            configs.append(word)
        else:
            taking = False
            rest.append(word)
    return configs, rest


def check_words(command: str, words: Sequence[str], configs: Sequence[str], run: str | None = None) -> None:
    """Refuse misspelt options of a run before anything heavy is imported.

    Raises:
        UserError: a misspelt option, or there is no such run or config.
    """
    folders = [] if run is None else [find_run(run)]
    own = [folder / "config.yaml" for folder in folders if (folder / "config.yaml").is_file()]
    check_run_words(command, words, [*own, *map(find_config, configs)])


def run_words(run: str | None, ckpt_path: str | None, configs: Sequence[str]) -> tuple[Path | None, list[str], Path]:
    """Resolve ``--run`` or ``--config … --ckpt_path …`` to a run folder, config words and a checkpoint.

    Raises:
        UserError: if neither way is complete, or a file is missing.
    """
    if run is None and (ckpt_path is None or not configs):
        raise UserError(NO_MODEL)
    from segtricks.training.checkpoints import read_checkpoint  # Lightning takes seconds, and other commands need none

    folder = find_run(run) if run is not None else None
    words = config_words([str(folder / "config.yaml")] if folder else []) + config_words(configs)
    checkpoint = Path(ckpt_path) if ckpt_path else checkpoint_of(folder)  # type: ignore[arg-type]
    if not checkpoint.is_file():
        raise UserError(f"No checkpoint at {checkpoint}.\nNext: pass one of runs/NAME/checkpoints with --ckpt_path.")
    read_checkpoint(checkpoint)
    return folder, words, checkpoint
