"""The files that a traced method is written to, and a script for each that needs nothing of segtricks."""

import json
import logging
import warnings
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.export import ExportedProgram

from segtricks.errors import UserError

INPUT, OUTPUT = "photographs", "masks"
_ABOUT = "about.json"

_READING = """\
    photograph = ImageOps.exif_transpose(Image.open(path))
    if photograph.mode[0] in "IF":  # 16 bits, or floats up to 1
        gray = np.asarray(photograph) * (255 if photograph.mode == "F" else 1 / 257)
        photograph = Image.fromarray(gray.round().astype(np.uint8))
    photograph = photograph.convert("RGBA")  # what is transparent becomes white
    photograph = Image.alpha_composite(Image.new("RGBA", photograph.size, "white"), photograph).convert("RGB")
"""
"""What :func:`segtricks.data.images.read_image` does, in scripts."""

Run = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""From photographs uint8 (B, H, W, 3) to masks float32 (B, H, W)."""


class OnnxFile:
    """ONNX, for onnxruntime and what else reads it."""

    needs = "numpy, pillow, onnxruntime"

    @staticmethod
    def check_packages() -> None:
        """Raise a ``UserError`` unless everything is installed that writing and reading need."""
        missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
        if missing:
            raise UserError(
                f'--format onnx needs {", ".join(missing)}.\nNext: pip install "segtricks[export]", or --format torch.'
            )

    @staticmethod
    def write(program: ExportedProgram, path: Path, about: Mapping[str, str]) -> None:
        """Write one file that holds the weights as well.

        Raises:
            UserError: the weights exceed the 2 GB of a file.
        """
        for name in ("onnxscript", "onnx_ir", "torch.onnx"):  # they say which nodes they do not simplify
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                written = torch.onnx.export(
                    program, (), dynamo=True, verbose=False, input_names=[INPUT], output_names=[OUTPUT]
                )
        except torch.onnx.OnnxExporterError as error:
            reason = str(error.__cause__ or error).splitlines()[0][:200]
            raise UserError(f"ONNX has no form for this model ({reason}).\nNext: --format torch") from error
        assert written is not None
        written.model.metadata_props.update(about)
        try:
            written.save(path, external_data=False)
        except ValueError as error:  # protobuf's limit
            raise UserError(f"{error}\nNext: --format torch, which has no such limit.") from error

    @staticmethod
    def quantize(path: Path) -> None:
        """Replace the weights of linear layers in the file by 8-bit ones, a scale for each output."""
        import onnx
        from onnxruntime.quantization import QuantType, quantize_dynamic

        graph = onnx.load(path).graph
        matrices = {tensor.name for tensor in graph.initializer if len(tensor.dims) == 2}
        layers = [node.name for node in graph.node if node.op_type == "MatMul" and node.input[1] in matrices]
        logging.getLogger().disabled = True  # it advises, on the root logger, a step that changes nothing here
        try:
            quantize_dynamic(path, path, per_channel=True, weight_type=QuantType.QInt8, nodes_to_quantize=layers)
        finally:
            logging.getLogger().disabled = False

    @staticmethod
    def open(path: Path) -> Run:
        """Return the file as a function."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.enable_cpu_mem_arena = options.enable_mem_pattern = False  # they keep memory for each size seen
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

        def run(photographs: NDArray[np.uint8]) -> NDArray[np.float32]:
            masks: NDArray[np.float32] = session.run(None, {INPUT: photographs})[0]
            return masks

        return run

    script = (
        '''\
"""The objects of photographs as gray masks: python {name}.py PHOTOGRAPH...  (numpy, pillow, onnxruntime)"""
import sys
from pathlib import Path
import numpy as np
from onnxruntime import InferenceSession
from PIL import Image, ImageOps

session = InferenceSession(Path(__file__).with_suffix(".onnx"))
for path in map(Path, sys.argv[1:]):
'''
        + _READING
        + """\
    pixels = np.asarray(photograph.resize({size}, Image.Resampling.BILINEAR))
    (masks,) = session.run(None, {{"photographs": pixels[None]}})  # float32 (1, H, W), foreground above 0.5
    mask = Image.fromarray((255 * masks[0]).round().astype(np.uint8))
    mask.resize(photograph.size, Image.Resampling.BILINEAR).save(f"{{path.stem}}_mask.png")
"""
    )


class TorchFile:
    """An exported program of torch, for Python and what compiles it ahead of time."""

    needs = "numpy, pillow, torch"

    @staticmethod
    def check_packages() -> None:
        """Nothing but torch is needed."""

    @staticmethod
    def write(program: ExportedProgram, path: Path, about: Mapping[str, str]) -> None:
        """Write one file that holds the weights as well."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="No complete tensor found in the group")  # views of one weight
            torch.export.save(program, path, extra_files={_ABOUT: json.dumps(about, indent=2)})

    @staticmethod
    def open(path: Path) -> Run:
        """Return the file as a function."""
        module = torch.export.load(path).module()

        @torch.no_grad()
        def run(photographs: NDArray[np.uint8]) -> NDArray[np.float32]:
            masks: NDArray[np.float32] = module(torch.from_numpy(photographs)).numpy()
            return masks

        return run

    script = (
        '''\
"""The objects of photographs as gray masks: python {name}.py PHOTOGRAPH...  (numpy, pillow, torch)"""
import sys
from pathlib import Path
import numpy as np
import torch
from PIL import Image, ImageOps

model = torch.export.load(Path(__file__).with_suffix(".pt2")).module()
for path in map(Path, sys.argv[1:]):
'''
        + _READING
        + """\
    pixels = np.array(photograph.resize({size}, Image.Resampling.BILINEAR))
    masks = model(torch.from_numpy(pixels)[None])  # float32 (1, H, W), foreground above 0.5
    mask = Image.fromarray((255 * masks[0]).round().byte().numpy())
    mask.resize(photograph.size, Image.Resampling.BILINEAR).save(f"{{path.stem}}_mask.png")
"""
    )


FORMATS: dict[str, type[OnnxFile] | type[TorchFile]] = {"onnx": OnnxFile, "torch": TorchFile}
