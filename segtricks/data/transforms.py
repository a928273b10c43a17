"""From a uint8 photograph to the network's input: sizes, crops, colours, normalisation.

Photographs are uint8 and resized bilinearly with antialiasing, as Pillow does it; of their targets the nearest pixel is
taken. Randomness comes from a torch generator, the global one unless another is given. The classes give the input of
one photograph; loaders use their parts, and leave colours and normalisation to the device.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Generator, Tensor
from torch.nn.functional import interpolate

from segtricks.data.colors import Colors, adjust_colors, draw_colors
from segtricks.data.sample import Instances, Panoptic, Target
from segtricks.errors import UserError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

ScaledTo = Literal["square", "crop"]

Placement = Literal["random", "corner"]

VOID = 255
"""Class id of the pixels of a label map that lie outside of its photograph."""

LONGEST_SIDE = 8
"""Sides that differ by more than this factor are squeezed to it: a strip of pixels would else become millions."""

MAX_SCALE = 10
"""Of the training photographs: more would take gigabytes."""

MAX_SIGMA = 100


def normalize(rgb01: Tensor) -> Tensor:
    """Float images (..., 3, H, W) in [0, 1] to ImageNet-normalised ones."""
    return (rgb01 - _channels(IMAGENET_MEAN, rgb01)) / _channels(IMAGENET_STD, rgb01)


def denormalize(normalised: Tensor) -> Tensor:
    """ImageNet-normalised images (..., 3, H, W) to float ones, clamped to [0, 1]."""
    return (normalised * _channels(IMAGENET_STD, normalised) + _channels(IMAGENET_MEAN, normalised)).clamp(0, 1)


def fit_short_side(image: Tensor, size: int, multiple: int = 1) -> Tensor:
    """The whole image, its short side about ``size`` pixels and both sides multiples of ``multiple``.

    uint8 (C, H, W), any H and W from 1 on, to uint8 (C, h, w). The aspect ratio is kept up to the rounding, and up to
    8:1.
    """
    scale = size / min(image.shape[-2:])
    scaled = (min(side * scale, LONGEST_SIDE * size) for side in image.shape[-2:])
    height, width = (max(1, round(side / multiple)) * multiple for side in scaled)
    return _resize(image, height, width)


def to_input(image: Tensor) -> Tensor:
    """uint8 (..., 3, H, W) to float32, ImageNet-normalised."""
    return normalize(image.to(torch.float32) / 255)


def to_colored_input(images: Tensor, colors: Colors) -> Tensor:
    """uint8 (B, 3, H, W) to float32, colours adjusted, normalised."""
    if images.device.type == "cpu" and len(images) > 1:
        # One by one, since what fits into a CPU's cache is not fetched again for every step: 3 times faster.
        return torch.cat([to_colored_input(images[i : i + 1], colors[i : i + 1]) for i in range(len(images))])
    return normalize(adjust_colors(images.to(torch.float32) / 255, colors))


def resize_short_side(image: Tensor, size: int) -> Tensor:
    """The whole image with its short side at exactly ``size`` pixels: uint8 (C, H, W) to uint8 (C, h, w)."""
    height, width = image.shape[-2:]
    return _resize(image, *with_short_side(height, width, size))


def with_short_side(height: int, width: int, size: int) -> tuple[int, int]:
    """Height and width after :func:`resize_short_side`; the long side is at most 8 times the short one."""
    # Integer arithmetic, rounded down, as torchvision.transforms.Resize and so the paper's code does it.
    longest = min(size * max(height, width) // min(height, width), LONGEST_SIDE * size)
    return (size, longest) if height <= width else (longest, size)


def resize_target(target: Target, height: int, width: int) -> Target:
    """Target (..., H, W) of any type to (..., height, width), each pixel the nearest one of before."""

    def resize(pixels: Tensor) -> Tensor:
        rows = _nearest(pixels.shape[-2], height)
        columns = _nearest(pixels.shape[-1], width)
        return pixels[..., rows[:, None], columns]

    return _map_pixels(resize, target)


@dataclass(frozen=True)
class View:
    """One way to cut a square out of a photograph, the same for its target."""

    size: int
    scaled: tuple[int, int]
    """Height and width of the photograph when the square is cut out of it."""
    top: int
    """Where the square begins; below 0 the photograph begins so many pixels below the top of the square."""
    left: int
    mirrored: bool
    sigma: float | None = None
    """Standard deviation of a blur in pixels, which does not touch the target."""
    squeezed: bool = False
    """The photograph, once ``scaled``, is squeezed to the square."""

    def image(self, image: Tensor) -> Tensor:
        """uint8 (3, H, W) to (3, size, size); what the photograph leaves free gets its mean colour."""
        if image.shape[-2:] != self.scaled:
            image = _resize(image, *self.scaled)
        if self.squeezed:
            image = _resize(image, self.size, self.size)
        fill = None
        if min(image.shape[-2:]) < self.size:
            fill = image.float().mean(dim=(1, 2), keepdim=True).to(torch.uint8)
        crop = self._cut(image, fill)
        return crop if self.sigma is None else _blurred(crop, self.sigma)

    def target(self, target: Target) -> Target:
        """Target (..., H, W) of any size to (..., size, size); free pixels are 0, and ``VOID`` in label maps."""
        sides = (self.size, self.size) if self.squeezed else self.scaled

        def cut(pixels: Tensor) -> Tensor:
            return self._cut(pixels, pixels.new_tensor(VOID if pixels.dtype == torch.int64 else 0))

        return _map_pixels(cut, resize_target(target, *sides))

    def _cut(self, pixels: Tensor, fill: Tensor | None) -> Tensor:
        top, left = max(0, self.top), max(0, self.left)
        crop = pixels[..., top : self.top + self.size, left : self.left + self.size]
        height, width = crop.shape[-2:]
        if fill is not None and (height, width) != (self.size, self.size):
            canvas = fill.expand(*pixels.shape[:-2], self.size, self.size).clone()
            below, right = top - self.top, left - self.left
            canvas[..., below : below + height, right : right + width] = crop
            crop = canvas
        return crop.flip(-1) if self.mirrored else crop.contiguous()


class TrainTransform:
    """Random crop, flip and colours for training: uint8 (3, H, W) to normalised float32 (3, size, size).

    The short side is resized to ``resize`` pixels, a crop of ``size`` is taken anywhere in it and flipped; only then
    come the colours, on the small crop. The defaults are those of "Two Tricks" (arXiv 2404.03392).

    With ``scale_range`` the resized photograph is resized once more, both sides by a factor uniform in that range.
    Then it is squeezed as a whole to the ``square``, as in FOUND, where small factors lose detail; or a ``crop`` is
    taken anywhere in it: along a side that is too short, the photograph lies anywhere in the crop, or at the top left
    ``corner`` (top right after a flip), on its mean colour. A blur comes after the flip, before the colours. Without
    ``keep_aspect`` the photograph is a square of ``resize`` pixels before all that, as in SelfMask.

    Args:
        size: Side of the crop.
        resize: Short side before the crop; None is 335 for 320, in proportion for others.
        flip: Probability of a horizontal flip.
        jitter, jitter_p, grayscale_p: See :func:`segtricks.data.colors.draw_colors`.
        scale_range: Lowest and highest scale factor; None scales nothing.
        scaled_to: ``square`` or ``crop``, for scaled photographs.
        blur_p: Probability of a Gaussian blur, its kernel a tenth of ``size`` wide.
        blur_sigma: Lowest and highest standard deviation of the blur in pixels, drawn uniformly.
        placement: Where a scaled photograph lies in a crop that is larger.
        keep_aspect: Keep the photograph's proportions.

    Source: for scale and blur Siméoni et al., "Unsupervised Object Localization: Observing the Background to Discover
    Objects", CVPR 2023, section 4, and its published code.
    """

    def __init__(
        self,
        size: int = 320,
        resize: int | None = None,
        flip: float = 0.5,
        jitter: Sequence[float] = (0.4, 0.4, 0.2, 0.1),
        jitter_p: float = 0.8,
        grayscale_p: float = 0.2,
        scale_range: Sequence[float] | None = None,
        scaled_to: ScaledTo = "square",
        blur_p: float = 0.0,
        blur_sigma: Sequence[float] = (0.1, 2.0),
        placement: Placement = "random",
        keep_aspect: bool = True,
    ) -> None:
        self.size = size
        self.resize = resized_side(size, resize)
        for name, value in (("flip", flip), ("jitter_p", jitter_p), ("grayscale_p", grayscale_p), ("blur_p", blur_p)):
            if not 0 <= value <= 1:
                raise UserError(f"{name} is {value}: a probability lies in [0, 1], for example --data.{name} 0.5.")
        if len(jitter) != 4 or min(jitter) < 0 or jitter[3] > 0.5:
            raise UserError(
                f"jitter is {list(jitter)}: it takes brightness, contrast, saturation (0 or more) and hue (0 to 0.5), "
                "for example --data.jitter '[0.4, 0.4, 0.2, 0.1]'."
            )
        for name, choice, allowed in (("scaled_to", scaled_to, ScaledTo), ("placement", placement, Placement)):
            first, second = get_args(allowed)
            if choice not in (first, second):
                raise UserError(f"{name} is {choice!r}: pass {first} or {second}, for example --data.{name} {first}.")
        self.flip = flip
        self.jitter, self.jitter_p, self.grayscale_p = tuple(jitter), jitter_p, grayscale_p
        self.scale_range: tuple[float, float] | None = None
        if scale_range is not None:
            self.scale_range = checked_range("scale_range", scale_range, MAX_SCALE, "0.1, 3.0")
        self.scaled_to = scaled_to
        self.placement, self.keep_aspect = placement, keep_aspect
        self.blur_p, self.blur_sigma = blur_p, checked_range("blur_sigma", blur_sigma, MAX_SIGMA, "0.1, 2.0")

    def __call__(self, image: Tensor, generator: Generator | None = None) -> Tensor:
        """One random view of the image."""
        resized = resize_short_side(image, self.resize)
        view = self.draw(resized.shape[-2], resized.shape[-1], generator)
        return to_colored_input(view.image(resized)[None], self.draw_colors(generator)[None])[0]

    def draw(self, height: int, width: int, generator: Generator | None = None) -> View:
        """Random geometry and blur for an image, and its target, whose short side is ``resize``."""
        if not self.keep_aspect:
            height = width = self.resize
        scaled = height, width
        squeezed = False
        if self.scale_range is not None:
            factor = float(torch.empty(1).uniform_(*self.scale_range, generator=generator))
            # To one by one pixel torch fails to resize (seen with 2.15).
            scaled = max(2, int(height * factor)), max(2, int(width * factor))
            squeezed = self.scaled_to == "square"
        top, left = (0 if squeezed else self._draw_start(side, generator) for side in scaled)
        mirrored = bool(torch.rand(1, generator=generator) < self.flip)
        return View(self.size, scaled, top, left, mirrored, self._draw_sigma(generator), squeezed)

    def _draw_start(self, side: int, generator: Generator | None) -> int:
        room = side - self.size
        if room == 0:
            return 0
        start = int(torch.randint(abs(room) + 1, (), generator=generator))
        if room > 0:
            return start
        return 0 if self.placement == "corner" else -start

    def _draw_sigma(self, generator: Generator | None) -> float | None:
        if not self.blur_p or torch.rand(1, generator=generator) >= self.blur_p:
            return None
        return float(torch.empty(1).uniform_(*self.blur_sigma, generator=generator))

    def draw_colors(self, generator: Generator | None = None) -> Colors:
        """Steps of its colours, to be drawn after the crop."""
        return draw_colors(self.jitter, self.jitter_p, self.grayscale_p, generator)


class CenterCropTransform:
    """Short side to ``resize``, centre crop of ``size``: uint8 (C, H, W) to uint8 (C, size, size).

    For images and, identically (bilinear), for masks, as the ``two-tricks`` protocol does it.
    """

    def __init__(self, size: int = 320, resize: int | None = None) -> None:
        self.size = size
        self.resize = resized_side(size, resize)

    def __call__(self, image: Tensor) -> Tensor:
        """The middle of the image or mask."""
        return self.cut(resize_short_side(image, self.resize))

    def cut(self, image: Tensor) -> Tensor:
        """The middle of what has ``resize`` as its short side."""
        # Halves are rounded to the even pixel, as in torchvision.
        top, left = (round((side - self.size) / 2) for side in image.shape[-2:])
        return image[..., top : top + self.size, left : left + self.size].contiguous()

    def cut_target(self, target: Target, height: int, width: int) -> Target:
        """The middle of the target of an image that has these sides once its short one is ``resize``."""
        return _map_pixels(self.cut, resize_target(target, height, width))


def resized_side(size: int, resize: int | None) -> int:
    """Short side before a crop of ``size``: ``resize``, or in the paper's proportion of 335 to 320."""
    if size < 1:
        raise UserError(f"size is {size}: a side has at least 1 pixel, for example --data.size 320.")
    if resize is None:
        return round(size * 335 / 320)
    if resize < size:
        raise UserError(f"resize is {resize}, smaller than the crop of {size}: pass --data.resize {size} or more.")
    return resize


def checked_range(name: str, values: Sequence[float], highest: float, example: str) -> tuple[float, float]:
    """Lowest and highest value of an option; a ``UserError`` unless they are above 0 and at most ``highest``."""
    if len(values) != 2 or not 0 < values[0] <= values[1] <= highest:
        raise UserError(
            f"{name} is {list(values)}: it takes the lowest and the highest value, above 0 and at most {highest}, "
            f"for example --data.{name} '[{example}]'."
        )
    return values[0], values[1]


def _blurred(crop: Tensor, sigma: float) -> Tensor:
    from torchvision.transforms.v2.functional import gaussian_blur  # takes half a second to import

    kernel = int(0.1 * crop.shape[-1] // 2 * 2) + 1
    # First along the columns, then along the rows: the same, and many times faster than with the square kernel.
    columns = gaussian_blur(crop.float(), [1, kernel], [sigma, sigma])
    return gaussian_blur(columns, [kernel, 1], [sigma, sigma]).round().to(torch.uint8)


def _map_pixels(change: Callable[[Tensor], Tensor], target: Target) -> Target:
    if isinstance(target, Panoptic):
        instances = target.instances
        return Panoptic(instances._replace(masks=change(instances.masks), boxes=None), change(target.semantic))
    if isinstance(target, Instances):
        return target._replace(masks=change(target.masks), boxes=None)
    return change(target)


def _nearest(before: int, after: int) -> Tensor:
    """For each of ``after`` pixels, the index of the one of ``before`` in which its middle lies."""
    return ((torch.arange(after, dtype=torch.float64) + 0.5) * before / after).long().clamp_max(before - 1)


def _resize(image: Tensor, height: int, width: int) -> Tensor:
    return interpolate(image[None], (height, width), mode="bilinear", antialias=True)[0]


def _channels(values: Sequence[float], like: Tensor) -> Tensor:
    # Made on the device, it would wait for all that the device has still to do.
    return torch.tensor(values, dtype=like.dtype).to(like.device, non_blocking=like.is_cuda).view(3, 1, 1)
