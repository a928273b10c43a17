"""Real photographs that come inside Python packages, with masks drawn by hand: nothing has to be downloaded."""

import hashlib
import importlib.util
import json
import warnings
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageChops, ImageDraw
from torch import Tensor

from segtricks.data.pairing import LeftOut
from segtricks.data.sample import SegmentationDataset
from segtricks.errors import UserError

INSTALL = 'pip install "segtricks[examples]"'
"""The command that installs the packages with the photographs."""

MASKS = Path(__file__).with_name("examples.json")
"""The photographs' names, checksums, licences and outlines."""


class Photograph(NamedTuple):
    """One photograph of a package; ``path`` is relative to the folder of its ``module``.

    Each of its ``objects`` is the pixels within an ``outline`` but not within its ``holes``, lists of (x, y) of pixels.
    """

    name: str
    package: str
    module: str
    path: str
    sha256: str
    width: int
    height: int
    author: str
    licence: str
    source: str
    objects: list[dict[str, Any]]


class ExamplePhotographs(SegmentationDataset):
    """Nine photographs of common objects, for a first run and for pictures.

    Size: 9 images of 384 x 303 to 640 x 427 pixels, sorted by name: astronaut, camera, chelsea (a cat), china (a
    pagoda), coffee, coins, flower, grace_hopper, rocket. Too few for scores that mean anything beyond these nine.
    Format: PNG and JPEG, 7 in colour and 2 in gray, of the packages scikit-image, scikit-learn and matplotlib. Masks
    0/255, drawn by hand as polygons, see :func:`draw_mask`; an object is all that stands out together: the photographer
    with his tripod, the cup with its saucer and spoon, both flowers, all coins.
    Licences: public domain (astronaut, grace_hopper, rocket), CC0 (camera, chelsea, coffee), no known copyright
    restrictions (coins), CC BY 2.0 (china by danielbuechele, flower by vultilion). ``examples.json`` has the author,
    licence and source of each; segtricks contains the outlines alone, not the photographs.
    Citation: the photographs' authors; van der Walt et al., "scikit-image: image processing in Python", PeerJ 2014;
    Pedregosa et al., "Scikit-learn: Machine Learning in Python", JMLR 2011; Hunter, "Matplotlib: A 2D graphics
    environment", Computing in Science & Engineering 2007.

    Photographs whose package is not installed are left out with a warning, and so are files that differ from those
    that the masks were drawn on; an error with ``strict``, or where none is there.
    """

    target_kinds = ("mask",)
    expected = 9
    """Number of photographs where all packages are installed."""
    license_note = "public domain, CC0, CC BY 2.0"
    """What the photographs' authors allow, in a few words."""

    def __init__(self, require_masks: bool = True, strict: bool = False) -> None:
        self.left_out: list[LeftOut] = []
        self._photographs: dict[Path, Photograph] = {}
        absent = []
        for photograph in photographs():
            path = locate(photograph)
            if path is None:
                absent.append(photograph)
            elif hashlib.sha256(path.read_bytes()).hexdigest() != photograph.sha256:
                self.left_out.append(LeftOut(path, "changed"))
            else:
                self._photographs[path] = photograph
        reasons = _reasons(absent, self.left_out)
        if reasons and (strict or not self._photographs):
            raise UserError(f"examples: {reasons}\nNext: {INSTALL}")
        if reasons:
            warnings.warn(f"examples: {reasons} Left out. Next: {INSTALL}", stacklevel=2)
        paths = list(self._photographs)
        super().__init__("examples", paths, [MASKS] * len(paths) if require_masks else None)

    def read_mask(self, index: int) -> Tensor | None:
        """Mask alone, uint8 (1, H, W), 0 or 255."""
        return None if self.masks is None else draw_mask(self.photograph(index))

    def photograph(self, index: int) -> Photograph:
        """Author, licence, source and outlines of an item."""
        return self._photographs[self.images[index]]


@lru_cache(maxsize=1)
def photographs() -> tuple[Photograph, ...]:
    """All photographs that there are masks for, sorted by name, whether or not their packages are installed."""
    return tuple(Photograph(**entry) for entry in json.loads(MASKS.read_text(encoding="utf-8")))


def count_installed() -> int:
    """Number of the photographs that are here and are those that the masks were drawn on."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return len(ExamplePhotographs(False))
    except UserError:
        return 0


def locate(photograph: Photograph) -> Path | None:
    """The photograph's file, or None where its package is not installed or does not hold it; nothing is imported."""
    try:
        spec = importlib.util.find_spec(photograph.module)
    except ValueError:  # a module that was put into sys.modules by hand
        return None
    folders = (spec and spec.submodule_search_locations) or ()
    return next((path for folder in folders if (path := Path(folder, photograph.path)).is_file()), None)


def draw_mask(photograph: Photograph) -> Tensor:
    """The mask of a photograph, uint8 (1, H, W): 255 on its objects, 0 elsewhere.

    Points are pixels, counted from 0. Those that an outline runs through belong to the object, those that a hole's
    outline runs through do not. A hole is cut from its own object alone: another object may lie in it.
    """
    size = (photograph.width, photograph.height)
    mask = Image.new("L", size)
    for item in photograph.objects:
        drawn = Image.new("L", size)
        draw = ImageDraw.Draw(drawn)
        draw.polygon(_points(item["outline"]), fill=255)
        for hole in item["holes"]:
            draw.polygon(_points(hole), fill=0)
        mask = ImageChops.lighter(mask, drawn)
    return torch.from_numpy(np.array(mask)).unsqueeze(0)


def _points(pairs: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    return [(x, y) for x, y in pairs]


def _reasons(absent: Sequence[Photograph], changed: Sequence[LeftOut]) -> str:
    sentences = []
    if absent:
        packages = ", ".join(dict.fromkeys(photograph.package for photograph in absent))
        names = ", ".join(photograph.name for photograph in absent)
        sentences.append(f"{names}: not found, because these packages are not installed or lack them: {packages}.")
    if changed:
        names = ", ".join(path.name for path, _ in changed)
        sentences.append(f"{names}: not the file that the mask was drawn on, but that of another version.")
    return " ".join(sentences)
