"""``segtricks discover``: photographs in, masks and boxes of a training-free method out.

It is ``predict`` of :class:`segtricks.methods.Discovery`, or of :class:`segtricks.methods.MaskCut`, with shorter names
for their options; those of ``predict`` are understood as well.
"""

from argparse import Namespace
from collections.abc import Sequence

from segtricks.backbones.registry import whole_patches
from segtricks.commands.feature_options import add_cache_options
from segtricks.commands.options import OptionParser, add_device_option, check_words, checked_device
from segtricks.commands.task import add_task_options, task_of
from segtricks.errors import UserError
from segtricks.refine import BILATERAL_PRESETS
from segtricks.words import DISCOVERIES, FEATURES, ROWS

USAGE = "--images PHOTOS --output MASKS [--method tokencut] [--backbone dino_vits16] [--option value]"

_MASKCUT = "maskcut"
_SHARED = ("backbone", "backbone_checkpoint", "feature", "layer", "tau", "bilateral_preset", "refine_at")
_OF_DISCOVERY = (*_SHARED, "method", "head", "k", "threshold")
_OF_MASKCUT = (*_SHARED, "refine", "rounds", "skip_refused", "min_iou")
_DATA = {"size": "size", "batch_size": "eval_batch_size", "num_workers": "num_workers"}
_REFINERS = (*ROWS, "dense_crf")
_RANGES = {"size": (1, 8192, 320), "batch_size": (1, 4096, 8), "num_workers": (0, 1024, 4), "k": (1, 10**6, 100),
           "rounds": (1, 100, 3), "min_iou": (0, 1, 0.5)}  # fmt: skip


def main(words: Sequence[str]) -> None:
    """Run the command with its option words."""
    parser = _parser()
    options, rest = parser.parse_known_args(words)
    for name, (lowest, highest, example) in _RANGES.items():
        value = getattr(options, name)
        if value is not None and not lowest <= value <= highest:
            raise UserError(f"--{name} is {value}: it lies in {lowest} to {highest:,}, for example --{name} {example}.")
    _check_options(options, parser)
    check_words("discover", rest, [])
    task = task_of(options, boxes=True)
    from segtricks.commands.prediction import Model, write_masks  # later than the options: Lightning takes seconds

    words = [*_words(options), *_device_words(options.device, rest), *rest]
    if options.method == _MASKCUT:
        model = Model(words, command="discover")
    else:
        model = Model(words, row=ROWS[options.refine], polarity=options.polarity, command="discover")
    write_masks(task, model, options.method)


def _check_options(options: Namespace, parser: OptionParser) -> None:
    """Fill in the method's own defaults, and refuse options of other methods (``UserError``)."""
    maskcut = options.method == _MASKCUT
    foreign = (*_OF_DISCOVERY, "polarity") if maskcut else _OF_MASKCUT
    for name in foreign:
        if name not in (*_SHARED, "method", "refine") and getattr(options, name) != parser.get_default(name):
            raise UserError(f"--{name} does not go with the method {options.method}: leave it out.")
    options.refine = options.refine or ("dense_crf" if maskcut else "none")
    options.size = options.size or whole_patches(480 if maskcut else 320, options.backbone)
    if not maskcut and options.refine not in ROWS:
        raise UserError(
            f"--refine {options.refine} goes with maskcut.\n"
            f"Next: segtricks refine --masks MASKS --images PHOTOS --output OUT --method {options.refine}"
        )


def _parser() -> OptionParser:
    parser = OptionParser("discover", USAGE)
    add = parser.add_argument
    add_task_options(parser)
    add("--method", choices=DISCOVERIES, default="tokencut", help="what finds the object (default tokencut)")
    add("--backbone", default="dino_vits16", help="frozen network, see segtricks weights list (default dino_vits16); "
        "spectral_voting takes several: A,B,C")  # fmt: skip
    add("--backbone_checkpoint", metavar="FILE", help="file with its weights, instead of a download")
    add("--feature", choices=FEATURES, help="what patches are compared by (default: the backbone's own)")
    add("--layer", type=int, help="whose features, from 0, or from the end with -1 (default: the backbone's own)")
    add("--tau", metavar="X|share:X", help="all but found: cosine above which two patches are alike, "
        "or the share of all pairs that are (default: the backbone's own)")  # fmt: skip
    add("--k", type=int, default=100, help="lost: patches that may vote (default 100)")
    add("--threshold", metavar="X|share:X", help="found: as --tau, for patches like the background's seed")
    add("--head", metavar="FILE", help="found: a trained head in place of its first step")
    add("--rounds", type=int, default=3, help="maskcut: masks of a photograph, at most (default 3)")
    add("--skip_refused", action="store_true", help="maskcut: look behind objects that are refused")
    add("--min_iou", type=float, default=0.5, help="maskcut: drop masks that refinement changes more (default 0.5)")
    add("--polarity", choices=("none", "image", "border"), default="none", help="turn a mask over if its mean, or its "
        "mean along the border, exceeds 0.5 (default none)")  # fmt: skip
    add("--refine", type=_refiner, choices=_REFINERS, help="refine the masks (default none; of maskcut dense_crf, "
        "or crf for short)")  # fmt: skip
    add("--bilateral_preset", choices=tuple(BILATERAL_PRESETS), default="two-tricks", help="the solver's cell sizes")
    add("--refine_at", choices=("model", "full"), default="model", help="at the network's or the photograph's size")
    add(
        "--size",
        type=int,
        help="short side in pixels at which the network sees it (default 320, of maskcut 480, "
        "or the nearest multiple of the patch)",
    )
    add("--batch_size", type=int, default=8, help="photographs of one size at a time (default 8)")
    add("--num_workers", type=int, help="reading processes (default: the processors that are free)")
    add_device_option(parser)
    add_cache_options(parser)
    return parser


def _words(options: Namespace) -> list[str]:
    """Return the options as those of ``predict``."""
    maskcut = options.method == _MASKCUT
    words = ["--model", f"segtricks.methods.{'MaskCut' if maskcut else 'Discovery'}"]
    for name in _OF_MASKCUT if maskcut else _OF_DISCOVERY:
        if getattr(options, name) is not None:
            words += [f"--model.{name}", str(getattr(options, name))]
    for name, full in _DATA.items():
        if getattr(options, name) is not None:
            words += [f"--data.{full}", str(getattr(options, name))]
    if options.cache_features:
        words += ["--cache_features", *(["--cache_dir", options.cache_dir] if options.cache_dir else [])]
    return words


def _refiner(name: str) -> str:
    return {"crf": "dense_crf"}.get(name, name)


def _device_words(device: str | None, rest: Sequence[str]) -> list[str]:
    """The device as options of ``predict``: the first GPU by its number, which an accelerator cpu does not take."""
    on_cpu = "--trainer.accelerator cpu" in " ".join(rest).replace("=", " ")
    found = checked_device("cpu" if device is None and on_cpu else device)
    words = ["--trainer.accelerator", found.type]
    return words if found.index is None else [*words, f"--trainer.devices=[{found.index}]"]
