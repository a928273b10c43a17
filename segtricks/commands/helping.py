"""``--help`` of the commands that train and run models: every option, with type and default."""

import inspect
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from docstring_parser import parse
from lightning.pytorch import Trainer

from segtricks.commands.feature_options import add_cache_options
from segtricks.commands.options import OptionParser, config_words, take_configs
from segtricks.commands.parser import chosen_data, chosen_method
from segtricks.commands.run_options import RUN_OPTIONS
from segtricks.data import SaliencyDataModule
from segtricks.methods import Sempart
from segtricks.training.hub_runs import find_run


@dataclass(frozen=True)
class _Used:
    """What a command that does not train uses of the options of a run."""

    run: tuple[str, ...]
    data: tuple[str, ...]
    trainer: tuple[str, ...] = (
        *("accelerator", "strategy", "devices", "num_nodes", "precision"),
        *("enable_progress_bar", "benchmark", "deterministic"),
    )


_USED = {
    "predict": _Used((), ("size", "test_size", "multiple", "eval_batch_size", "num_workers")),
    "test": _Used(
        ("wandb", "panels", "max_bad_share"),
        (
            *("root", "size", "test_size", "resize", "multiple", "eval_batch_size", "test_limit", "num_workers"),
            *("masks", "boxes", "hard", "center_crop", "foreground", "ignore", "orientation"),
            *("labels", "bank", "probe"),
        ),
    ),
}


def show_help(parser: OptionParser, words: Sequence[str], command: str) -> None:
    """Print a command's own options and those of a run, with the method that ``--run`` or ``--config`` names.

    ``predict`` and ``test`` leave out what only trains.
    """
    add_cache_options(parser)
    configs, rest = take_configs(words)
    configs = [str(find_run(run) / "config.yaml") for word, run in pairwise(words) if word == "--run"] + configs
    chosen = [*config_words(configs), *rest]
    method, data = chosen_method(chosen) or Sempart, chosen_data(chosen) or SaliencyDataModule
    used = _USED.get(command)
    print(f"{parser.format_help()}\noptions of a run:")
    print("  --seed_everything (default 0)\n      Seed of weights, data order, augmentation and crops.")
    for name, (_, default, text) in RUN_OPTIONS.items():
        if name != "provenance" and (used is None or name in used.run):
            print(f"  --{name} (default {default})\n      {text}")
    trains = getattr(method, "training_options", ())
    shown = {"model": [name for name in _parameters(method) if used is None or name not in trains]}
    shown["data"] = [name for name in _parameters(data) if used is None or name in used.data]
    for group, kind in (("model", method), ("data", data)):
        print(f"\n--{group}.… ({kind.__name__})")
        print("\n".join(_options(group, kind, shown[group])))
    trainer = list(_parameters(Trainer)) if used is None else used.trainer
    print(f"\n--trainer.… (lightning.pytorch.Trainer)\n  {', '.join(trainer)}")


def _parameters(kind: type) -> dict[str, inspect.Parameter]:
    """What a class takes by name, and what it hands on to the class that it is made from."""
    own = dict(inspect.signature(kind).parameters)
    handed_on = [name for name, parameter in own.items() if parameter.kind is parameter.VAR_KEYWORD]
    if not handed_on:
        return own
    for name in handed_on:
        del own[name]
    return own | _without(_parameters(kind.__bases__[0]), own)


def _without(parameters: Mapping[str, inspect.Parameter], known: Container[str]) -> dict[str, inspect.Parameter]:
    return {name: parameter for name, parameter in parameters.items() if name not in known}


def _options(group: str, kind: type, names: Sequence[str]) -> Iterator[str]:
    entries = [entry for each in reversed(kind.__mro__) for entry in parse(each.__doc__ or "").params]
    described = {entry.arg_name: " ".join((entry.description or "").split()) for entry in entries}
    for name in names:
        yield f"  --{group}.{name} (default {_parameters(kind)[name].default!r})\n      {described.get(name, '')}"
