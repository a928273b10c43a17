"""``--help`` of the commands that train and run models: every option, with type and default."""

import inspect
from collections.abc import Iterator, Sequence

from docstring_parser import parse
from lightning.pytorch import Trainer

from segtricks.commands.feature_options import HELP as FEATURES
from segtricks.data import SaliencyDataModule
from segtricks.methods import Sempart

_RUN = """\
  --seed_everything N        seed of weights, data order, augmentation and crops
  --test none|after|both     score the test sets after the fit, or also before it
  --wandb off|offline|online
  --panels N                 images in the pictures of a test set
  --save_every N             training steps between two writes of checkpoints/last.ckpt
  --max_bad_share X          share of unreadable files at which a run stops
  --on_collapse warn|stop    what follows masks without a border, or a loss term that is constant"""


def wants_help(words: Sequence[str]) -> bool:
    """Tell whether ``-h`` or ``--help`` is among the words."""
    return bool({"-h", "--help"} & set(words))


def show_help(command: str, usage: str) -> None:
    """Print the usage of a command and every option of the run, the method and its data."""
    print(f"usage: segtricks {command} {usage}\n\n{_RUN}\n{FEATURES}")
    for group, kind in (("model", Sempart), ("data", SaliencyDataModule)):
        print(f"\n--{group}.… ({kind.__name__})")
        print("\n".join(_options(group, kind)))
    names = ", ".join(name for name in inspect.signature(Trainer).parameters)
    print(f"\n--trainer.… (lightning.pytorch.Trainer)\n  {names}")


def _options(group: str, kind: type) -> Iterator[str]:
    told = {entry.arg_name: " ".join((entry.description or "").split()) for entry in parse(kind.__doc__ or "").params}
    for name, parameter in inspect.signature(kind).parameters.items():
        yield f"  --{group}.{name} (default {parameter.default!r})\n      {told.get(name, '')}"
