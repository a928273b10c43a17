"""A method as one graph from photographs to soft masks, which needs nothing of segtricks once it is written."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from segtricks.backbones.positions import PositionedPatchEmbed, resize_positions
from segtricks.data.transforms import fit_short_side, normalize
from segtricks.errors import UserError
from segtricks.methods.base import PLAIN, SegmentationModule

_CUBIC = -0.75  # parameter of torch's bicubic kernel


class MaskGraph(nn.Module):
    """Backbone, head, sign and refiner of a method as one function of pixels.

    Called with photographs uint8 (B, H, W, 3), RGB as Pillow reads them, sides multiples of the patch, it returns
    float32 (B, H, W): the foreground probabilities that ``segtricks predict`` gives for photographs of this size.

    Args:
        module: a method that is ``exportable``, in evaluation mode.
    """

    def __init__(self, module: SegmentationModule) -> None:
        super().__init__()
        self.module = module
        self.refine = None if module.predicted_row == PLAIN else module.rows[module.predicted_row]

    def forward(self, photographs: Tensor) -> Tensor:
        """Return the masks."""
        rgb01 = photographs.permute(0, 3, 1, 2).float() / 255
        mask = self.module.soft_masks(normalize(rgb01))
        if self.refine is not None:
            mask = self.refine(mask, rgb01)
        return mask.clamp(0, 1)[:, 0]


@dataclass(frozen=True)
class GraphInput:
    """The photographs that a graph takes.

    Args:
        size: short side in pixels, or both sides.
        multiple: of pixels, that sides are.
        dynamic: any number of photographs with any sides; otherwise one, a square.
    """

    size: int
    multiple: int
    dynamic: bool

    def fit(self, photograph: Tensor) -> Tensor:
        """Resize a photograph uint8 (3, H, W) as the graph takes it; a square loses the aspect ratio."""
        if self.dynamic:
            return fit_short_side(photograph, self.size, self.multiple)
        return interpolate(photograph[None], (self.size, self.size), mode="bilinear", antialias=True)[0]

    @property
    def shape(self) -> str:
        """Batch, height and width in words."""
        sides = f"multiples of {self.multiple}" if self.dynamic else str(self.size)
        return f"{'any' if self.dynamic else 1}, {sides}, {sides}"

    @property
    def pillow_size(self) -> str:
        """Python code for the size that Pillow resizes a ``photograph`` to."""
        if not self.dynamic:
            return str((self.size, self.size))
        factor = f"{self.size} / min(photograph.size) / {self.multiple}"
        return f"[max(1, round(side * {factor})) * {self.multiple} for side in photograph.size]"


@torch.no_grad()
def trace(module: SegmentationModule, photographs: GraphInput) -> torch.export.ExportedProgram:
    """Return the :class:`MaskGraph` of a method, in evaluation mode and on the CPU, as ``torch.export`` sees it.

    Raises:
        UserError: torch cannot trace it.
    """
    shapes: Any = None
    count, height, width = 1, photographs.size, photographs.size
    if photographs.dynamic:
        sides = [photographs.multiple * torch.export.Dim(name) for name in ("rows", "columns")]
        shapes = {"photographs": {0: torch.export.Dim("batch"), 1: sides[0], 2: sides[1]}}
        count, width = 2, width + photographs.multiple  # equal numbers would be taken for one
    example = torch.zeros(count, height, width, 3, dtype=torch.uint8)
    try:
        with _traceable_positions(module):
            program = torch.export.export(MaskGraph(module).eval(), (example,), dynamic_shapes=shapes)
    except Exception as error:  # torch raises many kinds, with pages of text
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        hint = "leave out --dynamic" if photographs.dynamic else "use segtricks predict or segtricks.load_run"
        raise UserError(f"torch cannot trace this model ({reason[:200]}).\nNext: {hint}.") from error
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # a written file would name folders of this machine
    return program


@contextmanager
def _traceable_positions(module: nn.Module) -> Iterator[None]:
    """Let position embeddings be resized by :func:`resize_by_products`."""
    parts = [part for part in module.modules() if isinstance(part, PositionedPatchEmbed)]
    replaced = [part for part in parts if part.resize is resize_positions]
    for part in replaced:
        part.resize = resize_by_products
    try:
        yield
    finally:
        for part in replaced:
            part.resize = resize_positions


def resize_by_products(positions: Tensor, grid: tuple[int, int]) -> Tensor:
    """What :func:`segtricks.backbones.positions.resize_positions` returns, by two matrix products.

    The grid may be unknown while a graph is traced, where ``interpolate`` needs its factors as plain numbers.
    """
    trained = positions.shape[-2:]
    rows, columns = (torch.arange(side, device=positions.device).float() for side in grid)
    as_trained = (_count(rows) == trained[0]) & (_count(columns) == trained[1])
    vertical, horizontal = _weights(rows, trained[0], as_trained), _weights(columns, trained[1], as_trained)
    return (vertical @ positions.float() @ horizontal.T).to(positions.dtype)


def _weights(places: Tensor, trained: int, as_trained: Tensor) -> Tensor:
    """Bicubic weights (n, trained) of the trained positions at n places; the identity where ``as_trained``."""
    step = torch.where(as_trained, 1.0, trained / (_count(places) + 0.1))
    source = (places + 0.5) * step - 0.5
    known = torch.arange(trained, device=places.device)
    weights = torch.zeros_like(places)[:, None]
    for offset in range(-1, 3):
        tap = source.floor() + offset
        is_tap = tap.clamp(0, trained - 1)[:, None] == known
        weights = weights + is_tap * _kernel((source - tap).abs())[:, None]
    return weights


def _kernel(distance: Tensor) -> Tensor:
    near = ((_CUBIC + 2) * distance - (_CUBIC + 3)) * distance**2 + 1
    far = _CUBIC * (((distance - 5) * distance + 8) * distance - 4)
    return torch.where(distance <= 1, near, far)


def _count(places: Tensor) -> Tensor:
    return torch.ones_like(places).sum()
