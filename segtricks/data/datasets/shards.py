"""Photographs in tar files: for collections with too many files for folders.

The layout is WebDataset's, whose own reader streams and shuffles within a buffer, so that the order depends on the
number of workers, and a run cannot be resumed within an epoch. A tar that is not compressed can be read anywhere:
order, splits, resuming and sharing among processes are those of a folder.
"""

import glob
import tarfile
from pathlib import Path
from typing import NamedTuple

from segtricks.data.images import IMAGE_SUFFIXES, UnreadableImage
from segtricks.data.pairing import MAX_UNPAIRED, pair
from segtricks.data.sample import SegmentationDataset
from segtricks.errors import UserError


class _Place(NamedTuple):
    archive: Path
    start: int
    size: int


class TarShards(SegmentationDataset):
    """Photographs in uncompressed tar files, and their masks; ``name`` is the pattern.

    A photograph is ``KEY.jpg`` (or another image suffix), its mask ``KEY.mask.png``, or ``KEY.png`` where the
    photograph has another suffix. Other members are passed over. Photographs are sorted by archive and name, and go by
    ``ARCHIVE.tar/NAME``. Opening reads one header of each member, some ten thousand a second.

    Args:
        pattern: one tar file, or a pattern for several such as ``shards/*.tar``.
        masks: read the masks; photographs without one are left out, up to ``MAX_UNPAIRED``.

    Raises:
        UserError: nothing fits the pattern, a file is not a plain tar, or photographs or masks are missing.
    """

    def __init__(self, pattern: str | Path, masks: bool = False) -> None:
        archives = sorted(Path(path) for path in glob.glob(str(Path(pattern).expanduser())))
        if not archives:
            raise UserError(f"No tar file {pattern} (looked from {Path.cwd()}): pass a file, or a pattern in quotes.")
        self._places: dict[Path, _Place] = {}
        images: dict[str, Path] = {}
        targets: dict[str, Path] = {}
        for archive in archives:
            found = _members(archive)
            self._places |= found
            named = {path: _split(path) for path in found}
            photographed = {key for key, suffix in named.values() if suffix in IMAGE_SUFFIXES and suffix != ".png"}
            for path, (key, suffix) in named.items():
                if suffix == ".mask.png" or (suffix == ".png" and key in photographed):
                    targets[key] = path
                elif suffix in IMAGE_SUFFIXES:
                    images[key] = path
        if not images:
            raise UserError(f"No images in {pattern}: looked for members ending in {' '.join(IMAGE_SUFFIXES)}.")
        ordered = sorted(images.values(), key=str)
        if not masks:
            super().__init__(str(pattern), ordered)
            return
        pairs = pair(str(pattern), ordered, lambda path: _split(path)[0], targets, MAX_UNPAIRED)
        super().__init__(str(pattern), pairs.images, pairs.masks)

    def _content(self, path: Path) -> bytes:
        archive, start, size = self._places[path]
        try:
            with archive.open("rb") as file:  # each time: workers must not share one position
                file.seek(start)
                return file.read(size)
        except OSError as error:
            raise UnreadableImage(path, str(error.strerror)) from error


def _members(archive: Path) -> dict[Path, _Place]:
    try:
        with tarfile.open(archive, "r:") as tar:
            files = [member for member in tar if member.isreg() and not Path(member.name).name.startswith(".")]
    except (tarfile.TarError, OSError) as error:
        raise UserError(
            f"{archive} is not an uncompressed tar ({error}).\n"
            "A compressed one can only be read from its start: gunzip it, or pass the folder that it unpacks to."
        ) from error
    return {archive / member.name: _Place(archive, member.offset_data, member.size) for member in files}


def _split(path: Path) -> tuple[str, str]:
    """The name that photograph and mask share, and the suffix, lower case."""
    text = str(path)
    suffix = ".mask.png" if text.lower().endswith(".mask.png") else path.suffix
    return text.removesuffix(text[-len(suffix) :]) if suffix else text, suffix.lower()
