"""Datasets that others published: where their folders lie, however they were unpacked, and how many files to expect."""

import warnings
from operator import attrgetter
from pathlib import Path
from typing import ClassVar

from segtricks.data.download.archive import Archive
from segtricks.data.images import find_images
from segtricks.data.pairing import MAX_UNPAIRED, LeftOut, Pairs, doubles, one_per_stem, pair
from segtricks.data.sample import SegmentationDataset
from segtricks.errors import UserError

_stem = attrgetter("stem")


class PublishedDataset(SegmentationDataset):
    """A published set; a subclass states what is where, and finds it below ``root``."""

    title: ClassVar[str]
    """The dataset's own name."""
    expected: ClassVar[int]
    """Number of images as published."""
    folders: ClassVar[tuple[str, ...]]
    """Names under which the dataset's own folder occurs below ``root``."""
    archives: ClassVar[tuple[Archive, ...]]
    """Files that ``segtricks data download`` fetches."""
    license_note: ClassVar[str]
    """What its authors allow, in a few words."""
    citation: ClassVar[str]
    annotations_at: Path | None = None
    """The file or folder of boxes, or of masks that need not be opened, if there are any."""

    @property
    def annotated(self) -> bool:
        """Whether masks or boxes lie next to the photographs, opened or not."""
        return self.masks is not None or (self.annotations_at is not None and self.annotations_at.exists())

    def _bases(self, root: Path) -> list[Path]:
        # The named folder before its parent: "images" next to ECSSD may be somebody else's.
        named = [root / name for name in self.folders]
        return [*named, *(root / name / name for name in self.folders), root]

    def _find(self, root: Path, *names: str) -> Path:
        """The first folder of one of these names."""
        for base in self._bases(root):
            for name in names:
                if (base / name).is_dir():
                    return base / name
        raise self._missing(root, f"no folder '{names[0]}' in {root / self.folders[0]} or {root}")

    def _missing(self, root: Path, what: str) -> UserError:
        return UserError(
            f"{self.title}: {what}.\n"
            f"Next: segtricks data download {self.title.lower()} --root {root}, or pass the place where it lies as "
            "--data.root (with `segtricks data`: --root)."
        )

    def _check_count(self, found: int, root: Path, strict: bool) -> None:
        """Warn where the number of images is not the published one, or raise with ``strict``."""
        difference = count_difference(found, self.expected)
        if not difference:
            return
        what = f"{difference}, below {root}"
        if strict:
            raise self._missing(root, what)
        warnings.warn(f"{self.title}: {what}. Scores on them are not the published ones.", stacklevel=3)


class PairedDataset(PublishedDataset):
    """A published set of photographs with one mask each.

    Args:
        root: The folder above the dataset's folder, or that folder itself. Folders nested in themselves,
            ``__MACOSX``, stray files and suffixes in upper case do not matter.
        require_masks: False where only photographs are needed: then missing or unpaired masks leave ``masks`` None.
        strict: An unexpected number of images, and any file without its partner, is an error instead of a warning.
        max_unpaired: Share of the files that may lack their partner: they are named in a warning and left out.

    Raises:
        UserError: A folder is missing, or files do not pair.
    """

    image_folder: ClassVar[str]
    mask_folder: ClassVar[str]

    def __init__(
        self,
        root: str | Path,
        require_masks: bool = True,
        strict: bool = False,
        max_unpaired: float = MAX_UNPAIRED,
    ) -> None:
        root = Path(root).expanduser()
        self.left_out: list[LeftOut] = []
        images = sorted(self._files(root, self.image_folder, ".jpg").values(), key=_stem)
        # Where masks are not needed, no photograph is given up because it has none.
        limit = max_unpaired if require_masks and not strict else 0.0
        try:
            pairs = self._pairs(root, images, limit)
        except UserError:
            if require_masks:
                raise
            super().__init__(self.title, images)
        else:
            super().__init__(self.title, pairs.images, pairs.masks)
        self._check_count(len(self), root, strict)

    def _files(self, root: Path, folder: str, suffix: str) -> dict[str, Path]:
        found = find_images(self._find(root, folder))
        chosen = one_per_stem(found, _stem, suffix)
        self.left_out += doubles(found, chosen)
        return chosen

    def _pairs(self, root: Path, images: list[Path], limit: float) -> Pairs:
        pairs = pair(self.title, images, _stem, self._files(root, self.mask_folder, ".png"), limit)
        self.left_out += pairs.left_out
        return pairs


def count_difference(found: int, expected: int) -> str:
    """How a number of images differs from the published one, or nothing where it does not."""
    if found == expected:
        return ""
    differ = f"{abs(found - expected):,} {'fewer' if found < expected else 'more'}"
    return f"{found:,} images, {expected:,} were published: {differ}"
