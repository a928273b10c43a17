"""Any folder of photographs, with or without a folder of masks."""

from pathlib import Path

from segtricks.data.images import find_images
from segtricks.data.pairing import one_per_stem, pair
from segtricks.data.saliency import SaliencyDataset


class ImageFolder(SaliencyDataset):
    """Your own photographs, however nested; ``name`` is the folder's name.

    Size and format: any number of files with the suffixes of ``IMAGE_SUFFIXES``. A mask belongs to the photograph
    with the same path below its folder, suffixes apart: ``photos/cats/1.jpg`` and ``masks/cats/1.png``; of several,
    the ``.png``.

    Args:
        root: Folder of photographs.
        masks: Folder of masks; where it lies within ``root``, its files are not taken for photographs.

    Raises:
        UserError: A folder is missing or empty, or photographs and masks do not pair.
    """

    def __init__(self, root: str | Path, masks: str | Path | None = None) -> None:
        root = Path(root).expanduser()
        images = find_images(root)
        name = root.resolve().name
        if masks is None:
            super().__init__(name, images)
            return
        mask_root = Path(masks).expanduser()
        found = find_images(mask_root)
        within = mask_root.resolve()
        if within != root.resolve() and within.is_relative_to(root.resolve()):
            images = [path for path in images if not path.resolve().is_relative_to(within)]
        by_stem = one_per_stem(found, lambda path: _key(path, mask_root), ".png")
        super().__init__(name, images, pair(name, images, lambda path: _key(path, root), by_stem))


def _key(path: Path, root: Path) -> str:
    return path.relative_to(root).with_suffix("").as_posix()
