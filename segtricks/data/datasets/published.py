"""Datasets that others published: where their folders lie, however they were unpacked, and how many files to expect."""

import warnings
from pathlib import Path
from typing import ClassVar

from segtricks.data.download.archive import Archive
from segtricks.data.images import find_images
from segtricks.data.pairing import MAX_UNPAIRED, LeftOut, Pairs, doubles, one_per_stem, pair
from segtricks.data.sample import SegmentationDataset
from segtricks.errors import UserError


class PublishedDataset(SegmentationDataset):
    """A published set of photographs with one mask each; a subclass says what is where.

    Args:
        root: The folder above the dataset's folder, or that folder itself. Folders nested in themselves,
            ``__MACOSX``, stray files and suffixes in upper case do not matter.
        require_masks: False where only photographs are needed: then missing or unpaired masks leave ``masks`` None.
        strict: An unexpected number of images, and any file without its partner, is an error instead of a warning.
        max_unpaired: Share of the files that may lack their partner: they are named in a warning and left out.

    Raises:
        UserError: A folder is missing (where it was looked for, where to get it), or files do not pair.
    """

    title: ClassVar[str]
    """The dataset's own name."""
    expected: ClassVar[int]
    """Number of images as published."""
    folders: ClassVar[tuple[str, ...]]
    """Names under which the dataset's own folder occurs below ``root``."""
    image_folder: ClassVar[str]
    mask_folder: ClassVar[str]
    archives: ClassVar[tuple[Archive, ...]]
    """Files that ``segtricks data download`` fetches."""
    license_note: ClassVar[str]
    """What its authors allow, in a few words."""
    citation: ClassVar[str]

    def __init__(
        self,
        root: str | Path,
        require_masks: bool = True,
        strict: bool = False,
        max_unpaired: float = MAX_UNPAIRED,
    ) -> None:
        root = Path(root).expanduser()
        self.left_out: list[LeftOut] = []
        images = self._images(root)
        pairs = self._pairs(root, images, require_masks, 0.0 if strict else max_unpaired)
        if pairs is None:
            super().__init__(self.title, images)
        else:
            super().__init__(self.title, pairs.images, pairs.masks)
            self.left_out += pairs.left_out
        check_count(self.title, len(self), self.expected, root, strict)

    def _images(self, root: Path) -> list[Path]:
        folder = self._locate(root, self.image_folder)
        if folder is None:
            raise self._missing(root, self.image_folder)
        found = find_images(folder)
        chosen = one_per_stem(found, _stem, ".jpg")
        self.left_out += doubles(found, chosen)
        return sorted(chosen.values(), key=_stem)

    def _pairs(self, root: Path, images: list[Path], require_masks: bool, limit: float) -> Pairs | None:
        folder = self._locate(root, self.mask_folder)
        if folder is None:
            if require_masks:
                raise self._missing(root, self.mask_folder)
            return None
        try:
            found = find_images(folder)
            chosen = one_per_stem(found, _stem, ".png")
            # Where masks are not needed, no photograph is given up for the want of one.
            pairs = pair(self.title, images, _stem, chosen, limit if require_masks else 0.0)
        except UserError:
            if require_masks:
                raise
            return None
        self.left_out += doubles(found, chosen)
        return pairs

    def _bases(self, root: Path) -> list[Path]:
        # The named folder before its parent: "images" beside ECSSD may be somebody else's.
        named = [root / name for name in self.folders]
        return [*named, *(root / name / name for name in self.folders), root]

    def _locate(self, root: Path, name: str) -> Path | None:
        return next((base / name for base in self._bases(root) if (base / name).is_dir()), None)

    def _missing(self, root: Path, folder: str) -> UserError:
        places = " or ".join(str(place) for place in (root / self.folders[0], root))
        return UserError(f"{self.title}: no folder '{folder}' in {places}.\n{how_to_get(self.title, root)}")


def how_to_get(title: str, root: Path) -> str:
    """The sentence that ends every message about a published dataset that is not there or not whole."""
    return (
        f"Next: segtricks data download {title.lower()} --root {root}, or pass the place where it lies as --data.root "
        "(with `segtricks data`: --root)."
    )


def check_count(title: str, found: int, expected: int, root: Path, strict: bool) -> None:
    """Warn where the number of images is not the published one.

    Raises:
        UserError: The same, with ``strict``.
    """
    difference = count_difference(found, expected)
    if difference:
        message = f"{title}, below {root}: {difference}."
        if strict:
            raise UserError(f"{message}\n{how_to_get(title, root)}")
        warnings.warn(f"{message} Scores on them are no published scores.", stacklevel=3)


def count_difference(found: int, expected: int) -> str:
    """How a number of images differs from the published one, or nothing where it does not."""
    if found == expected:
        return ""
    differ = f"{abs(found - expected):,} {'fewer' if found < expected else 'more'}"
    return f"{found:,} images, {expected:,} were published: {differ}"


def _stem(path: Path) -> str:
    return path.stem
