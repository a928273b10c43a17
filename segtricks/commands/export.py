"""``segtricks export``: a method with its weights as one file, for programs that do without segtricks."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from segtricks.commands.options import OptionParser, add_run_options, count
from segtricks.errors import UserError

USAGE = (
    "--run runs/NAME --output model.onnx [--format onnx|torch] [--size 336] [--dynamic] [--int8]\n"
    "       [--images PHOTOS] [--overwrite]\n"
    "       (or --released: the head that ships with segtricks)"
)
SUFFIXES = {"onnx": ".onnx", "torch": ".pt2"}


def main(words: Sequence[str]) -> None:
    """Run the command with its option words."""
    options = _parser().parse_args(list(words))
    output = Path(options.output)
    script = output.with_suffix(".py")
    _check_places(output, script, options)
    if options.released == bool(options.run):
        raise UserError("Which model? Pass either --run runs/NAME or --released.")
    if options.int8 and options.format != "onnx":
        raise UserError("--int8 needs --format onnx.")
    from segtricks.commands.export_model import export_model  # later than the options: Lightning takes seconds

    export_model(options, output, script)


def _parser() -> OptionParser:
    parser = OptionParser("export", USAGE)
    add_run_options(parser)
    add = parser.add_argument
    add("--released", action="store_true", help="export the head that ships with segtricks")
    add("--output", required=True, metavar="FILE", help="file to write; a script that uses it is written next to it")
    add("--format", choices=tuple(SUFFIXES), default="onnx", help="onnx (.onnx, the default) or torch (.pt2)")
    add("--size", type=count, metavar="PIXELS", help="both sides of its photographs (default: short side of the run)")
    add("--dynamic", action="store_true", help="take any number of photographs of any sides that the patches divide")
    add("--int8", action="store_true", help="8-bit weights in linear layers, onnx only: a third of the size")
    add(
        "--images",
        metavar="PHOTOS",
        help="what to check it on (default: the data set examples, or drawn scenes)",
    )
    add("--overwrite", action="store_true", help="replace files that are there")
    return parser


def _check_places(output: Path, script: Path, options: Namespace) -> None:
    suffix = SUFFIXES[options.format]
    if output.suffix != suffix:
        raise UserError(
            f"--output {output} does not end with {suffix}. "
            f"Next: --output {output.with_suffix(suffix)}, or another --format: onnx (.onnx), torch (.pt2)."
        )
    there = [path for path in (output, script) if path.exists()]
    if there and not options.overwrite:
        raise UserError(f"{there[0]} exists. Next: pass --overwrite, or another --output.")
