"""What ``segtricks export`` does: trace a model, write it, and compare the file with the model."""

from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import numpy as np

import segtricks
from segtricks.commands.run_loading import load_released, load_run
from segtricks.data import IMAGENET_MEAN, IMAGENET_STD, ImageFolder, SegmentationDataset
from segtricks.data.datamodule import spread
from segtricks.data.datasets.examples import count_installed
from segtricks.data.datasets.registry import open_dataset
from segtricks.errors import UserError
from segtricks.methods import SegmentationModule
from segtricks.methods.base import PLAIN, weights_of
from segtricks.methods.graph_files import FORMATS, OnnxFile, Run
from segtricks.methods.mask_graph import GraphInput, trace
from segtricks.runs import replacing

TOLERANCE = 1e-3
"""By which a mask of the file may differ from the model's own."""

CHANGED = 0.02
"""The share of pixels that 8-bit weights may move to the other side of 0.5."""

_CHECKED = 3  # photographs
_REMOVED = ": the file was removed.\nNext: try another --format, or with or without --dynamic."


def export_model(options: Namespace, output: Path, script: Path) -> None:
    """Write the file and its script, and say what was done.

    Args:
        options: of ``segtricks export``.
        output: the file.
        script: what uses it without segtricks.

    Raises:
        UserError: there is no such model, it cannot be exported, or the file's masks are not those of the model.
    """
    kind = FORMATS[options.format]
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
    if not taken.dynamic:
        print("Photographs are squeezed to a square; with --dynamic they keep their proportions, as in predict.")
    print(f"Next: python {script} PHOTOGRAPH, which needs {kind.needs}, not segtricks")


def _module(options: Namespace) -> SegmentationModule:
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
        "segtricks": segtricks.__version__,
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
