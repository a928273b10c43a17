"""Films: their frames as files, and pictures as a film. Needs the extra ``video``."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from segtricks.errors import UserError
from segtricks.runs import replacing, write_json

FILM_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv")
FPS = Fraction(25)
"""Frames a second where nothing says how many."""

_NEXT = "Next: see whether a player shows it."
_QUALITY = 95  # of frames, which were compressed more strongly before
_REORDERED = 4  # frames at the end of a film that was cut, of which some need those that follow
_CRF = "20"  # of x264, hardly to be told from what went in


class Film(NamedTuple):
    """What was unpacked: frames a second, the number of frames, and how many the film should have, 0 if unknown."""

    fps: Fraction
    frames: int
    stated: int


def is_film(path: Path) -> bool:
    """Tell whether a path is that of a film."""
    return path.suffix.lower() in FILM_SUFFIXES and not path.is_dir()


def in_order_of_numbers(path: Path) -> list[tuple[int, str]]:
    """Return a key to sort by: ``frame2.png`` comes before ``frame10.png``."""
    parts = re.split(r"(\d+)", path.as_posix())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def unpack_film(film: Path, folder: Path, overwrite: bool = False) -> Film:
    """Write the frames of a film as ``000001.jpg`` and so on, upright, and what they are of to ``film.json``.

    Frames of the same file that are there are left as they are. One frame at a time is held.

    Args:
        film: file to read.
        folder: to write to.
        overwrite: remove the frames of another film.

    Raises:
        UserError: there is no such film, it cannot be opened, or holds no frame that can be decoded; or ``folder``
            holds the frames of another one.
    """
    av = _av()
    if not film.is_file():
        raise UserError(f"No film {film} (looked from {Path.cwd()}).")
    folder.mkdir(parents=True, exist_ok=True)
    known = {"name": film.name, "size": film.stat().st_size, "modified": film.stat().st_mtime}
    with FileLock(folder / ".lock"):
        before = _read_known(folder / "film.json")
        same = known.items() <= before.items()
        if same and all((folder / _frame_name(number)).is_file() for number in range(1, before["frames"] + 1)):
            return Film(Fraction(before["fps"]), before["frames"], before["stated"])
        if before and not same and not overwrite:
            raise UserError(
                f"{folder} holds the frames of another film, {before.get('name')}, or of this one before it changed.\n"
                "Next: pass another --output, or --overwrite."
            )
        for old in (folder / "film.json", *(() if same else folder.glob("*.jpg"))):
            old.unlink(missing_ok=True)
        try:
            found = _write_frames(av, film, folder)
        except av.FFmpegError as error:
            raise UserError(f"{film} is not a film, or is damaged: {error.strerror}.\n{_NEXT}") from error
        if not found.frames:
            raise UserError(f"{film} holds no frame that can be decoded.\n{_NEXT}")
        write_json(folder / "film.json", known | {**found._asdict(), "fps": str(found.fps)})
    return found


def write_film(pictures: Sequence[Path], path: Path, fps: Fraction) -> tuple[int, int]:
    """Write pictures as an H.264 film of the size of the first one; return its width and height.

    H.264 has even sides: an odd one gets its last column or row once more. A picture that is not there is replaced by
    the one before it, one of another size is scaled. One picture at a time is held.

    Raises:
        UserError: not one picture is there, or the film cannot be written.
    """
    first = next((picture for picture in pictures if picture.is_file()), None)
    if first is None:
        raise UserError(f"{path} was not written: none of its pictures is there.")
    with Image.open(first) as picture:
        size = picture.size
    width, height = (side + side % 2 for side in size)
    av = _av()
    try:
        _encode(av, _arrays(pictures, first, size), path, (width, height), fps)
    except av.FFmpegError as error:
        text = f"{path} could not be written ({error.strerror}).\nNext: correct that and type the same command again."
        raise UserError(text) from error
    return width, height


def _encode(av: Any, arrays: Iterable[NDArray[np.uint8]], path: Path, size: tuple[int, int], fps: Fraction) -> None:
    """Write arrays (H, W, 3) as a film of an even width and height."""
    with replacing(path) as temporary, av.open(str(temporary), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=fps.limit_denominator(1001), options={"crf": _CRF})
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        for array in arrays:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(array, format="rgb24")))
        container.mux(stream.encode())


def _arrays(pictures: Sequence[Path], first: Path, size: tuple[int, int]) -> Iterator[NDArray[np.uint8]]:
    shown = first
    for path in tqdm(pictures, desc="film", unit=" frames", disable=None, leave=False, delay=2):
        shown = path if path.is_file() else shown
        with Image.open(shown) as picture:
            colours = picture.convert("RGB")
        if colours.size != size:
            colours = colours.resize(size)
        yield np.pad(np.asarray(colours), ((0, size[1] % 2), (0, size[0] % 2), (0, 0)), "edge")


def _frame_name(number: int) -> str:
    return f"{number:06}.jpg"


def _write_frames(av: Any, film: Path, folder: Path) -> Film:
    with av.open(str(film)) as container:
        if not container.streams.video:
            return Film(FPS, 0, 0)
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        times: list[int] = []
        count = 0
        bar = tqdm(total=stream.frames or None, desc=film.name, unit=" frames", disable=None, leave=False)
        with bar:
            for count, frame in enumerate(_decoded(av, container, stream), start=1):
                if frame.pts is not None:
                    times.append(frame.pts)
                if not (path := folder / _frame_name(count)).is_file():
                    picture = np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)
                    Image.fromarray(np.ascontiguousarray(picture)).save(path, quality=_QUALITY)
                bar.update()
        return Film(_mean_rate(stream, times), count, _stated_frames(stream, times))


def _mean_rate(stream: Any, times: Sequence[int]) -> Fraction:
    """Frames a second: what the film says, unless its frames, at these ``times``, come faster or slower than that."""
    rate = Fraction(stream.average_rate or stream.guessed_rate or FPS)
    intervals = len(times) - 1
    lasting = (times[-1] - times[0]) * stream.time_base if times else 0
    if lasting <= 0 or abs(lasting * rate - intervals) < 0.5:
        return rate
    return intervals / Fraction(lasting)


def _stated_frames(stream: Any, times: Sequence[int]) -> int:
    """How many frames the film should have, 0 where nothing reliable says so.

    Some containers count their frames, of which an edit list may show a part; Matroska says how long a stream lasts,
    which is a number of frames where all last equally long.
    """
    if stream.frames:
        shown = (stream.duration or 0) * stream.time_base * (stream.average_rate or 0)
        return stream.frames if abs(shown - stream.frames) < 0.5 else 0
    lasting = re.fullmatch(r"(\d+):(\d+):(\d+\.?\d*)", stream.metadata.get("DURATION", ""))
    before_the_end = times[:-_REORDERED]
    if lasting is None or len(before_the_end) < 2 or np.ptp(np.diff(before_the_end)) > 1:  # times are rounded
        return 0
    hours, minutes, seconds = map(Fraction, lasting.groups())
    end = 3600 * hours + 60 * minutes + seconds
    return round((end - times[0] * stream.time_base) * _mean_rate(stream, before_the_end))


def _decoded(av: Any, container: Any, stream: Any) -> Iterator[Any]:
    """The frames, without those that cannot be decoded."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError:  # nothing can be read any more
            return
        if packet is None:
            return
        with suppress(av.FFmpegError):
            yield from packet.decode()


def _read_known(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}  # not there, since unpacking was stopped


def _av() -> Any:
    try:
        import av
    except ImportError as error:
        raise UserError('Films need PyAV.\nNext: pip install "segtricks[video]"') from error
    return av
