"""Photographs and masks from files: every kind of file has one defined reading.

Geometry: the EXIF orientation is applied, to images and to masks; of an animation the first frame is read.
Values: 16-bit integers are divided by 257, so that white stays white, unless their folder has another white (see
``photo_values``); floats must lie in [0, 1] and are multiplied by 255; both are rounded. Colour with 16 bits a channel
is read by Pillow, which keeps the high byte.
Only the formats of ``IMAGE_SUFFIXES`` (and PNM) are decoded, whatever the file is called: no other decoder is ever run.
"""

import io
import os
import stat
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, ImageOps, UnidentifiedImageError
from torch import Tensor

from segtricks.errors import UserError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif")

_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "PPM")  # JPEG: and MPO, the pairs that some phones write

Convert = Callable[[Image.Image, int], Any]

_LABEL_VALUES = "a label map holds one class id a pixel, as a palette entry or gray value (0 to 65535)"


class UnreadableImage(UserError):
    """One image or mask that cannot be used: its ``path``, and the ``reason`` in a few words."""

    def __init__(self, path: str | Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = str(path)
        self.reason = reason

    def __reduce__(self) -> tuple[Any, ...]:
        """Both arguments again: a loader's worker process hands the error to the main one."""
        return type(self), (self.path, self.reason)


def read_image(path: str | Path, content: bytes | None = None, white: int = 65535) -> Tensor:
    """Photograph as uint8 (3, H, W), RGB, upright.

    ``content`` is the file where it lies in an archive; then ``path`` is only its name. ``white`` is the gray value of
    white in files of 16 bits.

    Grayscale gives three equal channels, palette and CMYK become RGB, transparency is laid over white; where all pixels
    are transparent and their colours differ, the colours count. The tensor is a view of the decoder's (H, W, 3), which
    is what resizing is fastest on.

    Raises:
        UnreadableImage: The file cannot be read, is damaged, empty, not an image, without pixels or beyond Pillow's
            limit (``PIL.Image.MAX_IMAGE_PIXELS``); or its floats leave [0, 1], or its integers exceed ``white``.
    """
    array = _decode(Path(path), partial(_rgb, white=white), content)
    return torch.from_numpy(array).permute(2, 0, 1)


def read_mask(path: str | Path, content: bytes | None = None) -> Tensor:
    """Mask as uint8 (1, H, W), upright; its gray values are kept, for the protocol to binarise.

    1-bit masks become 0/255. Colour and palette masks are read by the luminance of their colours (ITU-R 601, so that
    equal channels keep their value) and transparency is ignored. A mask whose largest value is exactly 1 is a 0/1
    mask and becomes 0/255.
    """
    array = _decode(Path(path), _luminance, content)
    return torch.from_numpy(array).unsqueeze(0)


class RawMask(NamedTuple):
    """The values of a mask as they are stored.

    Args:
        levels: (H, W), gray values, luminances, or the entry numbers of a palette of colours.
        kind: which of these.
        white: the largest value that such a file could hold: 255, 65535 or 1.0.
        one: how the value 1 is read; Pillow spreads 2 and 4 bits over 0..255.
        alpha: (H, W) uint8 where there is transparency.
        coloured: whether luminances are those of colours, and not of grays.
    """

    levels: NDArray[Any]
    kind: Literal["gray", "colour", "palette"]
    white: float
    one: int
    alpha: NDArray[np.uint8] | None
    coloured: bool = False


def read_raw_mask(path: str | Path, content: bytes | None = None) -> RawMask:
    """Mask with its values as they are stored, upright; raises as :func:`read_image` does."""
    return _decode(Path(path), _raw, content)


class Stored(NamedTuple):
    """What a photograph's file says of itself.

    Args:
        size: height and width as they are stored.
        orientation: of EXIF, 1 to 8.
        highest: largest gray value of a file of 16 bits, else 0.
        low_colour: whether it has 16 bits a colour, of which all pixels use 12 at most: it would be read as nearly
            black.
        transparent: whether its alpha is 0 everywhere and its colours are read instead.
    """

    size: tuple[int, int]
    orientation: int
    highest: int = 0
    low_colour: bool = False
    transparent: bool = False


def read_stored(path: str | Path, content: bytes | None = None, whole: bool = True) -> Stored:
    """What a photograph's file says of itself; raises as :func:`read_image` does.

    Without ``whole`` pixels are decoded only where there are 16 bits, and what follows them in a PNG is not looked at.
    """
    with _opened(Path(path), content) as image:
        deep_colour = _raw_mode(image).startswith("RGB;16")
        unread = image.format == "PNG" and "exif" not in image.info and not whole  # Pillow would decode all pixels
        stored = Stored((image.height, image.width), 1 if unread else _orientation(image))
        if image.mode.startswith("I"):
            return stored._replace(highest=int(np.asarray(image).max()))
        if deep_colour:
            return stored._replace(low_colour=0 < int(np.asarray(image).max()) < 16)
        if whole and image.has_transparency_data:
            return stored._replace(transparent=_is_transparent(image.convert("RGBA")))
        return stored


def read_orientation(path: str | Path, content: bytes | None = None) -> int:
    """EXIF orientation of a photograph, 1 (upright) to 8; raises as :func:`read_image` does."""
    with _opened(Path(path), content) as image:
        return _orientation(image)


def read_labels(path: str | Path, content: bytes | None = None) -> Tensor:
    """Label map as int64 (1, H, W), upright: the class id of every pixel, as it is stored.

    Ids are the gray values of images with 1 to 32 bits, or the entry numbers of palette images. An
    :class:`UnreadableImage` also where there are colours, transparency, floats or negative numbers instead.
    """
    path = Path(path)
    return torch.from_numpy(_decode(path, partial(_ids, path), content)).unsqueeze(0)


def read_size(path: str | Path) -> tuple[int, int]:
    """Height and width of a picture, upright, from the head of its file alone; raises as :func:`read_image` does."""
    with _opened(Path(path)) as image:
        turned = _orientation(image) > 4
        return (image.width, image.height) if turned else (image.height, image.width)


def find_images(folder: str | Path) -> list[Path]:
    """Image files of a folder and its subfolders by suffix (upper or lower case), sorted by their path within it.

    Hidden files and folders and ``__MACOSX`` are passed over; linked folders are followed, once each. A ``UserError``
    where there is no image.
    """
    folder = Path(folder)
    if not folder.exists():
        raise UserError(f"No folder {folder} (looked from {Path.cwd()}): pass the path of a folder of photographs.")
    if not folder.is_dir():
        raise UserError(f"{folder} is a file: pass the folder that holds the images, for example {folder.parent}.")
    found = sorted(_walk(folder), key=lambda path: path.relative_to(folder).as_posix())
    if not found:
        raise UserError(f"No images in {folder} or its subfolders: looked for {' '.join(IMAGE_SUFFIXES)}.")
    return found


def _walk(folder: Path) -> Iterator[Path]:
    seen: set[str] = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        # A link to a parent would otherwise be walked for ever.
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith(".") and name != "__MACOSX"]
        for name in files:
            if not name.startswith(".") and name.lower().endswith(IMAGE_SUFFIXES):
                yield Path(parent, name)


def _decode(path: Path, convert: Convert, content: bytes | None = None) -> Any:
    with _opened(path, content) as image:
        step = _gray_step(image)
        image.load()
        return convert(_upright(image), step)


@contextmanager
def _opened(path: Path, content: bytes | None = None) -> Iterator[ImageFile.ImageFile]:
    """The image before it is decoded; whatever goes wrong with it is an ``UnreadableImage``."""
    try:
        _ignore_bomb_warnings()
        if content is None:
            _check_file(path)
        with Image.open(path if content is None else io.BytesIO(content), formats=_FORMATS) as image:
            pixels = image.width * image.height
            if pixels == 0:
                raise UnreadableImage(path, f"has no pixels ({image.width} x {image.height})")
            if Image.MAX_IMAGE_PIXELS is not None and pixels > Image.MAX_IMAGE_PIXELS:
                raise Image.DecompressionBombError
            yield image
    except UnreadableImage:
        raise
    except Exception as error:  # decoders answer damage with anything from SyntaxError to struct.error
        raise UnreadableImage(path, _reason(error, path, content)) from error


def _reason(error: Exception, path: Path, content: bytes | None) -> str:
    if isinstance(error, Image.DecompressionBombError):
        return f"more than {Image.MAX_IMAGE_PIXELS} pixels, Pillow's limit"
    if isinstance(error, UnidentifiedImageError):
        length = path.stat().st_size if content is None else len(content)
        return "not an image, or damaged at its start" if length else "empty file"
    if isinstance(error, OSError) and error.strerror:  # of the system: no such file, permission denied
        return f"cannot be read: {error.strerror.lower()}"
    return f"damaged: {error or type(error).__name__}"


def _check_file(path: Path) -> None:
    # Opening a pipe waits until somebody writes into it, and a device need not have an end.
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise UnreadableImage(path, "is a folder, not an image")
    if not stat.S_ISREG(mode):
        raise UnreadableImage(path, "is a pipe, socket or device, not a file")


def _ignore_bomb_warnings() -> None:
    # Between once and twice its limit Pillow only warns, and such files are refused here. One lasting rule, because
    # warnings.catch_warnings around every file would make Python repeat all other warnings of a run without end.
    if ("ignore", None, Image.DecompressionBombWarning, None, 0) not in warnings.filters:
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)


def _upright(image: Image.Image) -> Image.Image:
    # exif_transpose would copy the others.
    return image if _orientation(image) == 1 else ImageOps.exif_transpose(image)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged EXIF data next to sound pixels
        return 1


def rgb_pixels(image: Image.Image) -> NDArray[np.uint8]:
    """Return an open image as uint8 (H, W, 3), upright, as :func:`read_image` does with a file."""
    return _rgb(_upright(image), 1)


def _rgb(image: Image.Image, step: int, white: int = 65535) -> NDArray[np.uint8]:
    levels = _levels(image)
    if levels is not None:
        return np.repeat(_eight_bits(levels, white)[:, :, None], 3, axis=2)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if not _is_transparent(image):
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def _is_transparent(image: Image.Image) -> bool:
    """Whether nothing of an RGBA image would be seen, although its colours differ."""
    *colours, alpha = image.getextrema()
    return alpha == (0, 0) and any(low != high for low, high in colours)  # type: ignore[misc]


def _luminance(image: Image.Image, step: int) -> NDArray[np.uint8]:
    levels = _levels(image)
    if levels is None:
        levels = np.array(image.convert("L" if image.mode in ("1", "L") else "RGB").convert("L"))
    # Before the division by 257: a 16-bit mask of 0 and 1 is not an empty one.
    if levels.dtype.kind != "f" and levels.max() == step:
        return (levels > 0).astype(np.uint8) * np.uint8(255)
    return _eight_bits(levels)


def _raw(image: Image.Image, step: int) -> RawMask:
    alpha = np.array(image.convert("RGBA"))[..., 3] if image.has_transparency_data else None
    levels = _levels(image)
    if levels is not None:
        return RawMask(levels, "gray", 1.0 if levels.dtype.kind == "f" else 65535, step, alpha)
    if image.mode == "P" and not _is_gray(image):
        return RawMask(np.array(image), "palette", 255, step, alpha)
    gray = image.mode in ("1", "L", "LA", "P")
    if gray:
        levels = np.array(image.convert("L" if image.mode in ("1", "L") else "RGB").convert("L"))
        return RawMask(levels, "gray", 255, step, alpha)
    image = image.convert("RGB")
    coloured = bool(np.ptp(np.asarray(image), axis=2).any())
    return RawMask(np.array(image.convert("L")), "colour", 255, step, alpha, coloured)


def _is_gray(image: Image.Image) -> bool:
    colours = np.array(image.getpalette("RGB")).reshape(-1, 3)
    return bool((colours == colours[:, :1]).all())


def _ids(path: Path, image: Image.Image, step: int) -> NDArray[np.int64]:
    if image.mode not in ("1", "L", "P", "I") and not image.mode.startswith("I;16"):
        raise UnreadableImage(path, f"its mode is {image.mode}: {_LABEL_VALUES}")
    ids = np.asarray(image).astype(np.int64)
    if ids.min() < 0:
        raise UnreadableImage(path, f"it has the value {ids.min()}: {_LABEL_VALUES}")
    return ids // step


def _gray_step(image: ImageFile.ImageFile) -> int:
    """What Pillow makes of the gray value 1 in a file that is not decoded yet: it spreads 2 and 4 bits over 0..255."""
    return {"L;2": 85, "L;4": 17}.get(_raw_mode(image)[:3], 1)


def _raw_mode(image: ImageFile.ImageFile) -> str:
    """How the pixels of a file that is not decoded yet are stored, in Pillow's words."""
    stored = image.tile[0][3] if image.tile else ""
    return str(stored[0] if isinstance(stored, tuple) and stored else stored)


def _levels(image: Image.Image) -> NDArray[Any] | None:
    """Integers in 0..65535 or floats in [0, 1] of the modes that Pillow would clip; None for all other modes."""
    if image.mode == "F":
        levels = np.asarray(image)
        if not (np.isfinite(levels).all() and levels.min() >= 0 and levels.max() <= 1):
            raise ValueError(f"floats that are not all within 0..1 ({_range(levels)}): divide them, or write 8 bits")
        return levels
    if image.mode == "I" or image.mode.startswith("I;16"):
        levels = np.asarray(image).astype(np.int64)
        if levels.min() < 0 or levels.max() > 65535:
            raise ValueError(f"integers that are not all within 0..65535 ({_range(levels)})")
        return levels
    return None


def _range(levels: NDArray[Any]) -> str:
    return f"{levels.min():g} to {levels.max():g}"


def _eight_bits(levels: NDArray[Any], white: int = 65535) -> NDArray[np.uint8]:
    if levels.dtype == np.uint8:
        return levels
    if levels.dtype.kind == "f":
        return np.rint(levels * 255.0).astype(np.uint8)
    if levels.max() > white:
        raise ValueError(f"the value {levels.max()}, where the files of its folder end at {white}")
    return np.rint(levels / (white / 255)).astype(np.uint8)
