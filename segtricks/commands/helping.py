"""``--help`` of the commands that train and run models: every option, with type and default."""

import inspect
from collections.abc import Iterator, Sequence

from docstring_parser import parse
from lightning.pytorch import Trainer

from segtricks.commands.feature_options import add_cache_options
from segtricks.commands.lightning_cli import RUN_OPTIONS
from segtricks.commands.options import OptionParser, config_words, take_configs
from segtricks.commands.parser import chosen_data, chosen_method
from segtricks.data import SaliencyDataModule
from segtricks.methods import Sempart


def wants_help(words: Sequence[str]) -> bool:
    """Tell whether ``-h`` or ``--help`` is among the words."""
    return bool({"-h", "--help"} & set(words))


def show_help(parser: OptionParser, words: Sequence[str]) -> None:
    """Print a command's own options and every option of the run, the method that ``--config`` names and its data."""
    add_cache_options(parser)
    configs, rest = take_configs(words)
    chosen = [*config_words(configs), *rest]
    method, data = chosen_method(chosen) or Sempart, chosen_data(chosen) or SaliencyDataModule
    print(f"{parser.format_help()}\noptions of a run:")
    print("  --seed_everything (default 0)\n      Seed of weights, data order, augmentation and crops.")
    for name, (_, default, text) in RUN_OPTIONS.items():
        print(f"  --{name} (default {default})\n      {text}")
    for group, kind in (("model", method), ("data", data)):
        print(f"\n--{group}.… ({kind.__name__})")
        print("\n".join(_options(group, kind)))
    names = ", ".join(name for name in inspect.signature(Trainer).parameters)
    print(f"\n--trainer.… (lightning.pytorch.Trainer)\n  {names}")


def _options(group: str, kind: type) -> Iterator[str]:
    entries = parse(kind.__doc__ or "").params
    described = {entry.arg_name: " ".join((entry.description or "").split()) for entry in entries}
    for name, parameter in inspect.signature(kind).parameters.items():
        if parameter.kind is not parameter.VAR_KEYWORD:
            yield f"  --{group}.{name} (default {parameter.default!r})\n      {described.get(name, '')}"
        elif kind.__base__ is not None:  # the options that it hands on
            own = tuple(f"  --{group}.{name} " for name in inspect.signature(kind).parameters)
            yield from (line for line in _options(group, kind.__base__) if not line.startswith(own))
