"""``segtricks export``: a method with its weights as one file, for programs that do without segtricks."""

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from segtricks import __version__
from segtricks.commands.options import OptionParser, add_run_options, count
from segtricks.commands.run_loading import load_released, load_run
from segtricks.data import IMAGENET_MEAN, IMAGENET_STD, ImageFolder, SegmentationDataset
from segtricks.data.datamodule import spread
from segtricks.data.datasets.examples import count_installed
from segtricks.data.datasets.registry import open_dataset
from segtricks.errors import UserError
from segtricks.methods import SegmentationModule
from segtricks.methods.base import PLAIN, weights_of
from segtricks.methods.graph_files import FORMATS, OnnxFile, Run, TorchFile
from segtricks.methods.mask_graph import GraphInput, trace
from segtricks.runs import replacing

USAGE = (
    "--run runs/NAME --output model.onnx [--format onnx|torch] [--size 336] [--dynamic] [--int8]\n"
    "       [--images PHOTOS] [--overwrite]\n"
    "       (or --released: the head that ships with segtricks)"
)
TOLERANCE = 1e-3
"""By which a mask of the file may differ from the model's own."""

CHANGED = 0.02
"""The share of pixels that 8-bit weights may move to the other side of 0.5."""

_CHECKED = 3  # photographs
_REMOVED = ": the file was removed.\nNext: try another --format, or with or without --dynamic."


def main(words: Sequence[str]) -> None:
    """Run the command with its option words."""
    options = _parser().parse_args(list(words))
    kind, output = FORMATS[options.format], Path(options.output)
    script = output.with_suffix(".py")
    _check_places(output, script, kind, options.overwrite)
    if options.int8 and kind is not OnnxFile:
        raise UserError("--int8 needs --format onnx.")
    kind.check_packages()
    photographs = _photographs(options.images)
    module = _module(options)
    taken = _graph_input(options, module)
    about = _about(module, taken)
    program = trace(module, taken)
    with replacing(output) as temporary:
        kind.write(program, temporary, about)
        if options.int8:
            OnnxFile.quantize(temporary)
        largest, changed = _compare(kind.open(temporary), module, taken, photographs)
        _check(largest, changed, options.int8)
    with replacing(script) as temporary:
        temporary.write_text(kind.script.format(name=output.stem, size=taken.pillow_size), encoding="utf-8")
    print(f"{output}: {output.stat().st_size / 1e6:.1f} MB, from {about['input']} to {about['output']}")
    sides = f", and {changed:.2%} of the pixels are on the other side of 0.5" if options.int8 else ""
    print(
        f"Checked against segtricks on photographs of {photographs.name}: "
        f"the largest difference is {largest:.1e}{sides}."
    )
    print(f"Next: python {script} PHOTOGRAPH, which needs {kind.needs}, not segtricks")


def _parser() -> OptionParser:
    parser = OptionParser("export", USAGE)
    add_run_options(parser)
    add = parser.add_argument
    add("--released", action="store_true", help="export the head that ships with segtricks")
    add("--output", required=True, metavar="FILE", help="file to write; a script that uses it is written next to it")
    add("--format", choices=tuple(FORMATS), default="onnx", help="onnx (.onnx, the default) or torch (.pt2)")
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


def _check_places(output: Path, script: Path, kind: type[OnnxFile] | type[TorchFile], overwrite: bool) -> None:
    if output.suffix != kind.suffix:
        raise UserError(
            f"--output {output} does not end with {kind.suffix}. "
            f"Next: --output {output.with_suffix(kind.suffix)}, or another --format: onnx (.onnx), torch (.pt2)."
        )
    there = [path for path in (output, script) if path.exists()]
    if there and not overwrite:
        raise UserError(f"{there[0]} exists. Next: pass --overwrite, or another --output.")


def _module(options: Namespace) -> SegmentationModule:
    if options.released == bool(options.run):
        raise UserError("Which model? Pass either --run runs/NAME or --released.")
    module = load_released() if options.released else load_run(options.run, options.ckpt_path)
    if not module.exportable:
        raise UserError(
            f"{type(module).__name__} cannot be exported: it is not one network from a photograph to its soft mask.\n"
            "Next: export a run of Sempart, Found or SelfMask; or use segtricks predict or segtricks.load_run."
        )
    if module.protocol.bn_mode == "batch":
        print(f"protocol {module.protocol.name}: the file uses the running statistics of batch norms, not a batch's.")
        module.protocol = replace(module.protocol, bn_mode="eval")
    return module


def _graph_input(options: Namespace, module: SegmentationModule) -> GraphInput:
    patch = int(module.backbone.patch_size)  # type: ignore[union-attr, arg-type]
    size = options.size or max(1, round(module.input_size / patch)) * patch
    if size % patch:
        below = size // patch * patch
        nearest = f"{below} or {below + patch}" if below else str(patch)
        raise UserError(f"--size {size} is not a multiple of the patch of {patch} pixels. Next: --size {nearest}")
    return GraphInput(size, patch, options.dynamic)


def _photographs(images: str | None) -> SegmentationDataset:
    if images is not None:
        return ImageFolder(images)
    if count_installed() >= _CHECKED:
        return open_dataset("examples", require_masks=False)
    return open_dataset("synthetic")


def _about(module: SegmentationModule, taken: GraphInput) -> dict[str, str]:
    """What the file says of itself."""
    refined = "none" if module.predicted_row == PLAIN else str(module.refiner)
    return {
        "input": f"uint8 ({taken.shape}, 3), RGB photographs",
        "output": f"float32 ({taken.shape}), foreground probabilities",
        "threshold": "0.5",
        "size": str(taken.size),
        "multiple": str(taken.multiple),
        "mean": f"{IMAGENET_MEAN}, subtracted in the graph",
        "std": f"{IMAGENET_STD}, divided by in the graph",
        "method": type(module).__name__,
        "backbone": str(module.identity().get("backbone")),
        "weights": weights_of(module),
        "refiner": f"{refined}, in the graph",
        "segtricks": __version__,
    }


def _compare(
    run: Run, module: SegmentationModule, taken: GraphInput, photographs: SegmentationDataset
) -> tuple[float, float]:
    """Return the largest difference of the file's masks to the model's own, and the share of pixels that change sides.

    Raises:
        UserError: the file does not run.
    """
    differences, changes = [], []
    for i in spread(len(photographs), _CHECKED):
        pixels = taken.fit(photographs.read_image(i)).permute(1, 2, 0).numpy()
        module.input_size, module.input_multiple = min(pixels.shape[:2]), taken.multiple  # nothing is resized
        own = module.masks(pixels)
        try:
            mask = run(pixels[None])[0]
        except Exception as error:  # onnxruntime's and torch's share no class
            raise UserError(f"The file does not run ({str(error).splitlines()[0][:200]}){_REMOVED}") from error
        differences.append(float(np.abs(mask - own).max()))
        changes.append(float(((mask > 0.5) != (own > 0.5)).mean()))
    return float(np.max(differences)), float(np.mean(changes))


def _check(largest: float, changed: float, int8: bool) -> None:
    """Raise a ``UserError`` if a file's masks are not those of the model."""
    if int8 and not changed <= CHANGED:
        raise UserError(
            f"With 8-bit weights {changed:.1%} of the pixels change sides, more than {CHANGED:.0%}: the file was "
            "removed.\nNext: leave out --int8."
        )
    if not int8 and not largest <= TOLERANCE:
        raise UserError(f"The file's masks differ from segtricks' by {largest:.1e}, more than {TOLERANCE:g}{_REMOVED}")
