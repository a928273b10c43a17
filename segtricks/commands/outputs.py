"""What ``predict`` and ``discover`` write besides the store: formats of other tools, and films."""

import argparse
from argparse import Namespace
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from PIL import Image

from segtricks.data import ImageFolder
from segtricks.data.films import FPS, in_order_of_numbers, is_film, unpack_film, write_film
from segtricks.data.images import read_image, read_mask
from segtricks.errors import UserError
from segtricks.pseudo_labels.parts import Share, join_boxes, publish
from segtricks.pseudo_labels.steady import Steady
from segtricks.pseudo_labels.writer import FORMATS, MIN_AREA, MaskWriter


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
        "the average starts again at a cut, where a frame differs strongly from the one before (default: not steadied)",
    )


def outputs_of(options: Namespace, shard: Share) -> Outputs:
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
    if outputs.steady is not None and shard.count > 1:
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


def find_photographs(photos: Path, output: Path, outputs: Outputs) -> tuple[ImageFolder, Fraction]:
    """Return the photographs, and the frames a second of the film that they are.

    The frames of a film are written to ``frames/`` below ``output``.
    """
    if not outputs.video:
        return ImageFolder(photos), FPS
    fps = FPS
    if is_film(photos):
        film, photos = photos, output / "frames"
        found = unpack_film(film, photos)
        fps = found.fps
        print(f"{found.frames:,} frames of {film} are in {photos}: {float(fps):.5g} a second, without their sound.")
        if found.frames < found.stated:
            print(f"segtricks: warning: {film} is damaged: it should have {found.stated:,} frames.")
    dataset = ImageFolder(photos)
    if photos.is_dir():
        order = sorted(range(len(dataset)), key=lambda i: in_order_of_numbers(dataset.images[i]))
        dataset = dataset.select(order)
    return dataset, outputs.fps or fps


def prepare(outputs: Outputs, writer: MaskWriter, part: Share) -> None:
    """Let a writer steady masks if asked for.

    Raises:
        UserError: the method has nothing that could be written so.
    """
    lacking = [name for name in outputs.formats if name not in writer.formats]
    if lacking:
        raise UserError(
            f"Clusters are not objects, so they cannot be written as {', '.join(lacking)}: leave --format out."
        )
    if outputs.steady is None:
        return
    if not writer.one_mask:
        raise UserError("--steady is for methods with one soft mask a photograph: leave it out.")
    if part.count > 1:
        raise UserError("--steady needs all frames in their order: run one process, or leave it out.")
    writer.steady = Steady(outputs.steady)


def from_the_first(missing: Path, frames: list[Path], writer: MaskWriter) -> list[Path]:
    """Return the frames from the first one without a mask, and let steadying go on from the mask before it."""
    start = frames.index(missing)
    if start and writer.steady is not None:
        before = frames[start - 1]
        writer.steady(read_mask(writer.file(before, "soft")).float() / 255, read_image(before))
    return frames[start:]


def export(
    outputs: Outputs, writer: MaskWriter, dataset: ImageFolder, part: Share, work: str, classes: int
) -> list[str]:
    """Write the other formats of a part of the photographs; return what was written.

    Args:
        outputs: what to write.
        writer: that wrote the store.
        dataset: the photographs.
        part: which of them.
        work: see :func:`segtricks.pseudo_labels.parts.publish`.
        classes: the largest class id.
    """
    if outputs.formats == ("masks",):
        return []
    from segtricks.pseudo_labels.formats import Exporter  # its libraries take part of a second, and masks need none

    exporter = Exporter(writer, outputs.formats, outputs.min_area, dataset.white)
    content = exporter.write(dataset.images, part.of(dataset.images))
    if "coco" in outputs.formats:
        publish(writer.output / "instances.json", part, work, content, join_boxes)
    return exporter.write_names(classes)


def write_overlays(writer: MaskWriter, frames: list[Path], fps: Fraction) -> str:
    """Write ``overlay.mp4`` of the overlays; return its name, and its size if that is not the frames'."""
    path = writer.output / "overlay.mp4"
    overlays = [writer.file(frame, "overlay") for frame in frames]
    written = write_film(overlays, path, fps)
    with Image.open(next(file for file in overlays if file.is_file())) as first:
        same = first.size == written
    return path.name if same else f"{path.name} (of even sides, {written[0]} x {written[1]})"
