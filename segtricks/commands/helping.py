"""``--help`` of the commands that train and run models: every option, with type and default."""

import inspect
from collections.abc import Iterator, Sequence

from docstring_parser import parse
from lightning.pytorch import Trainer

from segtricks.commands.feature_options import add_cache_options
from segtricks.commands.options import OptionParser, config_words, take_configs
from segtricks.commands.parser import chosen_method
from segtricks.data import SaliencyDataModule
from segtricks.methods import Sempart

_RUN = """\
  --seed_everything N        seed of weights, data order, augmentation and crops
  --test none|after|both     score the test sets after the fit, or also before it
  --wandb off|offline|online log to Weights & Biases too
  --panels N                 images in the pictures of a test set
  --save_every N             training steps between two writes of checkpoints/last.ckpt
  --max_bad_share X          share of unreadable files at which a run stops
  --on_collapse warn|stop    what follows masks that are all foreground or all background, a graph with nothing to
                             cut, or a loss that does not move
  --provenance NULL          what the run found out (source of its weights, threshold, sign): written, never read"""


def wants_help(words: Sequence[str]) -> bool:
    """Tell whether ``-h`` or ``--help`` is among the words."""
    return bool({"-h", "--help"} & set(words))


def show_help(parser: OptionParser, words: Sequence[str]) -> None:
    """Print a command's own options and every option of the run, the method that ``--config`` names and its data."""
    add_cache_options(parser)
    configs, rest = take_configs(words)
    method = chosen_method([*config_words(configs), *rest]) or Sempart
    print(f"{parser.format_help()}\noptions of a run:\n{_RUN}")
    for group, kind in (("model", method), ("data", SaliencyDataModule)):
        print(f"\n--{group}.… ({kind.__name__})")
        print("\n".join(_options(group, kind)))
    names = ", ".join(name for name in inspect.signature(Trainer).parameters)
    print(f"\n--trainer.… (lightning.pytorch.Trainer)\n  {names}")


def _options(group: str, kind: type) -> Iterator[str]:
    entries = parse(kind.__doc__ or "").params
    described = {entry.arg_name: " ".join((entry.description or "").split()) for entry in entries}
    for name, parameter in inspect.signature(kind).parameters.items():
        yield f"  --{group}.{name} (default {parameter.default!r})\n      {described.get(name, '')}"
