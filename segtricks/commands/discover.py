"""``segtricks discover``: photographs in, masks and boxes of a training-free method out.

It is ``predict`` of :class:`segtricks.methods.Discovery`, with shorter names for its options; those of ``predict`` are
understood as well.
"""

from argparse import Namespace
from collections.abc import Sequence

from segtricks.backbones.factory import FEATURES
from segtricks.commands.feature_options import add_cache_options
from segtricks.commands.options import OptionParser, add_device_option, checked_device
from segtricks.commands.prediction import Model, add_task_options, task_of, write_masks
from segtricks.discovery import spectral_voting
from segtricks.discovery.methods import METHODS
from segtricks.errors import UserError
from segtricks.methods.base import PLAIN, REFINED, SOLVED
from segtricks.refine import BILATERAL_PRESETS

USAGE = "--images PHOTOS --output MASKS [--method tokencut] [--backbone dino_vits16] [--option value]"

_METHODS = (*METHODS, spectral_voting.NAME)
_MODEL = (
    *("method", "backbone", "backbone_checkpoint", "head", "feature", "layer", "tau", "k", "threshold"),
    *("bilateral_preset", "refine_at"),
)
_DATA = {"size": "size", "batch_size": "eval_batch_size", "num_workers": "num_workers"}
_ROWS = {"none": PLAIN, "guided_filter": REFINED, "bilateral_solver": SOLVED}
_RANGES = {"size": (1, 8192, 320), "batch_size": (1, 4096, 8), "num_workers": (0, 1024, 4), "k": (1, 10**6, 100)}


def main(words: Sequence[str]) -> None:
    """Run the command with its option words."""
    options, rest = _parser().parse_known_args(words)
    for name, (lowest, highest, example) in _RANGES.items():
        value = getattr(options, name)
        if value is not None and not lowest <= value <= highest:
            raise UserError(f"--{name} is {value}: it lies in {lowest} to {highest:,}, for example --{name} {example}.")
    task = task_of(options, boxes=True)
    words = [*_words(options), *rest]
    model = Model(words, row=_ROWS[options.refine], polarity=options.polarity, command="discover")
    write_masks(task, model, options.method)


def _parser() -> OptionParser:
    parser = OptionParser("discover", USAGE)
    add = parser.add_argument
    add_task_options(parser)
    add("--method", choices=_METHODS, default="tokencut", help="what finds the object (default tokencut)")
    add("--backbone", default="dino_vits16", help="frozen network, see segtricks weights list (default dino_vits16); "
        "spectral_voting takes several: A,B,C")  # fmt: skip
    add("--backbone_checkpoint", metavar="FILE", help="file with its weights, instead of a download")
    add("--feature", choices=FEATURES, help="what patches are compared by (default: the backbone's own)")
    add("--layer", type=int, help="whose features, from 0, or from the end with -1 (default: the backbone's own)")
    add("--tau", metavar="X|share:X", help="tokencut, lost, deep_spectral: cosine above which two patches are alike, "
        "or the share of all pairs that are (default: the backbone's own)")  # fmt: skip
    add("--k", type=int, default=100, help="lost: patches that may vote (default 100)")
    add("--threshold", metavar="X|share:X", help="found: as --tau, for patches like the background's seed")
    add("--head", metavar="FILE", help="found: a trained head in place of its first step")
    add("--polarity", choices=("none", "image", "border"), default="none", help="turn a mask over if its mean, or its "
        "mean along the border, exceeds 0.5 (default none)")  # fmt: skip
    add("--refine", choices=tuple(_ROWS), default="none", help="refine the masks")
    add("--bilateral_preset", choices=tuple(BILATERAL_PRESETS), default="two-tricks", help="the solver's cell sizes")
    add("--refine_at", choices=("model", "full"), default="model", help="at the network's or the photograph's size")
    add("--size", type=int, default=320, help="short side in pixels at which the network sees it (default 320)")
    add("--batch_size", type=int, default=8, help="photographs of one size at a time (default 8)")
    add("--num_workers", type=int, help="reading processes (default: the processors that are free)")
    add_device_option(parser)
    add_cache_options(parser)
    return parser


def _words(options: Namespace) -> list[str]:
    """Return the options as those of ``predict``."""
    words = ["--model", "segtricks.methods.Discovery"]
    for name in _MODEL:
        if getattr(options, name) is not None:
            words += [f"--model.{name}", str(getattr(options, name))]
    for name, full in _DATA.items():
        if getattr(options, name) is not None:
            words += [f"--data.{full}", str(getattr(options, name))]
    if options.cache_features:
        words += ["--cache_features", *(["--cache_dir", options.cache_dir] if options.cache_dir else [])]
    return words + _device_words(options.device)


def _device_words(device: str) -> list[str]:
    found = checked_device(device)
    words = ["--trainer.accelerator", found.type]
    return words if found.index is None else [*words, f"--trainer.devices=[{found.index}]"]
