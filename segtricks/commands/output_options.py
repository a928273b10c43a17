"""Options of ``predict`` and ``discover`` for formats of other tools, and for films."""

import argparse
from argparse import Namespace
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from segtricks.data.films import FPS, is_film
from segtricks.errors import UserError
from segtricks.words import FORMATS, MIN_AREA


@dataclass(frozen=True)
class Outputs:
    """What to write.

    Args:
        formats: some of ``FORMATS``.
        min_area: share of a photograph below which its objects are left out of other formats.
        video: whether the photographs are the frames of a film.
        fps: frames a second of the film that is written; None is what the film that is read has.
        steady: weight of the masks before, where masks are steadied.
    """

    formats: tuple[str, ...] = ("masks",)
    min_area: float = MIN_AREA
    video: bool = False
    fps: Fraction | None = None
    steady: float | None = None


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of :class:`Outputs`."""
    add = parser.add_argument
    add(
        "--format",
        nargs="+",
        choices=FORMATS,
        default=["masks"],
        help="one or several of: masks (soft/, binary/, overlay/), coco (instances.json), yolo and labelme (folders), "
        "cutout (the photograph, its mask as alpha); default masks",
    )
    add(
        "--min_area",
        type=float,
        default=MIN_AREA,
        metavar="SHARE",
        help=f"coco, yolo, labelme: leave out objects of less than this share of the photograph (default {MIN_AREA})",
    )
    add(
        "--video",
        action="store_true",
        help="PHOTOS are frames, in the order of the numbers in their names: also write overlay.mp4; "
        "so with a film, whose frames are first written to frames/",
    )
    add("--fps", type=_fps, metavar="N", help=f"frames a second of overlay.mp4 (default: the film's, of frames {FPS})")
    add(
        "--steady",
        type=float,
        metavar="WEIGHT",
        help="of a film: each soft mask is WEIGHT times the average so far and 1 - WEIGHT times its own, such as 0.8; "
        "the average starts again at a cut, where a frame differs strongly from the one before; what moves is followed "
        "WEIGHT / (1 - WEIGHT) frames late (default: not steadied)",
    )


def outputs_of(options: Namespace) -> Outputs:
    """Return what parsed options ask for.

    Raises:
        UserError: an option has a value that is not allowed, or does not go with the others.
    """
    outputs = Outputs(
        formats=tuple(name for name in FORMATS if name in options.format),
        min_area=options.min_area,
        video=options.video or is_film(Path(options.images)),
        fps=options.fps,
        steady=options.steady,
    )
    if not 0 <= outputs.min_area < 1:
        raise UserError(f"--min_area is {outputs.min_area}: it is a share from 0 to below 1, such as {MIN_AREA}.")
    if outputs.video and "masks" not in outputs.formats:
        raise UserError("overlay.mp4 is made of overlay/: add masks to --format.")
    if not outputs.video and (outputs.steady is not None or outputs.fps is not None):
        raise UserError("--steady and --fps are for films: pass --images FILM, or a folder of frames and --video.")
    if outputs.steady is not None and not 0 < outputs.steady < 1:
        raise UserError(f"--steady is {outputs.steady}: it lies between 0 and 1, such as 0.8.")
    if outputs.steady is not None and not options.shard.endswith("/1"):
        raise UserError("--steady needs all frames in their order: leave out --shard, or --steady.")
    return outputs


def _fps(text: str) -> Fraction:
    """Read frames a second, such as 25, 23.976 or 30000/1001."""
    try:
        fps = Fraction(text)
    except (ValueError, ZeroDivisionError):
        fps = Fraction(0)
    if not 0 < fps <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of frames a second, such as 25 or 30000/1001")
    return fps
