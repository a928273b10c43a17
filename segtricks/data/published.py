"""Datasets that others published: where their folders lie, however they were unpacked, and how many files to expect."""

import warnings
from pathlib import Path
from typing import ClassVar

from segtricks.data.images import find_images
from segtricks.data.pairing import one_per_stem, pair
from segtricks.data.saliency import SaliencyDataset
from segtricks.errors import UserError


class PublishedDataset(SaliencyDataset):
    """A published set of photographs with one mask each; a subclass says what is where.

    Args:
        root: The folder above the dataset's folder, or that folder itself. Folders nested in themselves,
            ``__MACOSX``, stray files and suffixes in upper case do not matter.
        require_masks: False where only photographs are needed: then missing or unpaired masks leave ``masks`` None.
        strict: An unexpected number of images is an error instead of a warning.

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
    urls: ClassVar[tuple[str, ...]]

    def __init__(self, root: str | Path, require_masks: bool = True, strict: bool = False) -> None:
        root = Path(root).expanduser()
        images = self._images(root)
        masks = self._masks(root, images, require_masks)
        super().__init__(self.title, images, masks)
        if len(images) != self.expected:
            message = f"{self.title}: {len(images):,} images below {root}, {self.expected:,} were published."
            if strict:
                raise UserError(f"{message}\n{self._advice(root)}")
            warnings.warn(f"{message} Scores on them are no published scores.", stacklevel=2)

    def _images(self, root: Path) -> list[Path]:
        folder = self._locate(root, self.image_folder)
        if folder is None:
            raise self._missing(root, self.image_folder)
        return sorted(one_per_stem(find_images(folder), _stem, ".jpg").values(), key=_stem)

    def _masks(self, root: Path, images: list[Path], require_masks: bool) -> list[Path] | None:
        folder = self._locate(root, self.mask_folder)
        if folder is None:
            if require_masks:
                raise self._missing(root, self.mask_folder)
            return None
        try:
            return pair(self.title, images, _stem, one_per_stem(find_images(folder), _stem, ".png"))
        except UserError:
            if require_masks:
                raise
            return None

    def _bases(self, root: Path) -> list[Path]:
        # The named folder before its parent: "images" beside ECSSD may be somebody else's.
        named = [root / name for name in self.folders]
        return [*named, *(root / name / name for name in self.folders), root]

    def _locate(self, root: Path, name: str) -> Path | None:
        return next((base / name for base in self._bases(root) if (base / name).is_dir()), None)

    def _missing(self, root: Path, folder: str) -> UserError:
        places = " or ".join(str(place) for place in (root / self.folders[0], root))
        return UserError(f"{self.title}: no folder '{folder}' in {places}.\n{self._advice(root)}")

    def _advice(self, root: Path) -> str:
        files = " and ".join(self.urls)
        return f"Fetch {files} and unpack under {root / self.folders[0]}, or pass its place as --data.root."


def _stem(path: Path) -> str:
    return path.stem
