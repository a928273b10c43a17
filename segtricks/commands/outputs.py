"""What ``predict`` and ``discover`` write besides the store: formats of other tools, and films."""

from fractions import Fraction
from pathlib import Path

from PIL import Image

from segtricks.commands.output_options import Outputs
from segtricks.data import ImageFolder
from segtricks.data.films import FPS, in_order_of_numbers, is_film, unpack_film, write_film
from segtricks.data.images import read_image, read_mask
from segtricks.data.label_store import entry_files, is_store
from segtricks.errors import UserError
from segtricks.pseudo_labels.parts import Share, join_boxes, publish
from segtricks.pseudo_labels.steady import Steady
from segtricks.pseudo_labels.writer import MaskWriter


def find_photographs(
    photos: Path, output: Path, outputs: Outputs, overwrite: bool = False
) -> tuple[ImageFolder, Fraction]:
    """Return the photographs, and the frames a second of the film that they are.

    The frames of a film are written to ``frames/`` below ``output``; to ``overwrite`` those of another one is allowed.
    """
    if not outputs.video:
        return ImageFolder(photos), FPS
    fps = FPS
    if is_film(photos):
        film, photos = photos, output / "frames"
        found = unpack_film(film, photos, overwrite)
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


def frames_gone(writer: MaskWriter) -> list[Path]:
    """Return the frames of an earlier, longer film that were removed, but whose masks are in the store."""
    frames = writer.output / "frames"
    if writer.photos != frames or not is_store(writer.output):
        return []
    known = [frames / f"{name}.jpg" for name in entry_files(writer.output / "entries")]
    return [path for path in known if not path.is_file()]


def export(outputs: Outputs, writer: MaskWriter, dataset: ImageFolder, part: Share, work: str) -> list[str]:
    """Write the other formats of a part of the photographs; return what was written.

    Args:
        outputs: what to write.
        writer: that wrote the store.
        dataset: the photographs.
        part: which of them.
        work: see :func:`segtricks.pseudo_labels.parts.publish`.
    """
    if outputs.formats == ("masks",):
        return []
    from segtricks.pseudo_labels.formats import Exporter  # its libraries take part of a second, and masks need none

    exporter = Exporter(writer, outputs.formats, outputs.min_area, dataset.white)
    content = exporter.write(dataset.images, part.of(dataset.images))
    if "coco" in outputs.formats:
        publish(writer.output / "instances.json", part, work, content, join_boxes)
    return exporter.write_names()


def write_overlays(writer: MaskWriter, frames: list[Path], fps: Fraction) -> str:
    """Write ``overlay.mp4`` of the overlays; return its name, and its size if that is not the frames'."""
    path = writer.output / "overlay.mp4"
    overlays = [writer.file(frame, "overlay") for frame in frames]
    written = write_film(overlays, path, fps)
    with Image.open(next(file for file in overlays if file.is_file())) as first:
        same = first.size == written
    return path.name if same else f"{path.name} (of even sides, {written[0]} x {written[1]})"
