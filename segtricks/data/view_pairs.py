"""Pairs of views: two boxes of a photograph, each with its part of the mask, for contrastive methods."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn.functional import interpolate

from segtricks.data.colors import Colors
from segtricks.data.loading import Emptied, Item, NoForeground, Skipped, TrainItems, collate_stacked
from segtricks.data.sample import SegmentationDataset
from segtricks.data.store import ImageCache
from segtricks.data.transforms import TrainTransform, checked_range, resize_target

MARGIN = 0.01
"""Share of the pixels that must at least be foreground, and background, in either view."""

_DRAWS = 3  # of one photograph
_OTHERS = 20  # photographs


@dataclass(frozen=True)
class BoxView:
    """A box of a photograph that is resized to a square, perhaps mirrored; the same for its mask."""

    size: int
    top: int
    left: int
    height: int
    width: int
    mirrored: bool

    def image(self, image: Tensor) -> Tensor:
        """uint8 (3, H, W) to (3, size, size), bilinear with antialiasing."""
        resized = interpolate(self._cut(image)[None], (self.size, self.size), mode="bilinear", antialias=True)[0]
        return resized.flip(-1) if self.mirrored else resized

    def mask(self, mask: Tensor) -> Tensor:
        """Mask (1, H, W), of the photograph's size, to (1, size, size), each pixel the nearest one of before."""
        resized = resize_target(self._cut(mask), self.size, self.size)
        assert isinstance(resized, Tensor)
        return resized.flip(-1) if self.mirrored else resized

    def _cut(self, pixels: Tensor) -> Tensor:
        return pixels[..., self.top : self.top + self.height, self.left : self.left + self.width]


class PairTransform:
    """Draws boxes as torchvision's ``RandomResizedCrop``, flips and colours.

    Args:
        train: Its sizes, and its probabilities of flips and colours.
        area: Lowest and highest area of a box, as a share of the photograph's.
        ratio: Lowest and highest width of a box divided by its height.
    """

    def __init__(
        self, train: TrainTransform, area: Sequence[float] = (0.2, 1.0), ratio: Sequence[float] = (0.75, 4 / 3)
    ) -> None:
        self._train = train
        self.size, self.resize = train.size, train.resize
        self.area = checked_range("area", area, 1, "0.2, 1.0")
        self.ratio = checked_range("ratio", ratio, 100, "0.75, 1.3333")

    def draw(self, image: Tensor, generator: Generator) -> BoxView:
        """Random geometry of one view of a photograph (3, H, W), and of its mask."""
        from torchvision.transforms import RandomResizedCrop  # takes half a second to import

        with _global_numbers_from(generator):
            top, left, height, width = RandomResizedCrop.get_params(image, list(self.area), list(self.ratio))
        mirrored = bool(torch.rand(1, generator=generator) < self._train.flip)
        return BoxView(self.size, top, left, height, width, mirrored)

    def draw_colors(self, generator: Generator) -> Colors:
        """Steps of the colours of one view."""
        return self._train.draw_colors(generator)


@contextmanager
def _global_numbers_from(generator: Generator) -> Iterator[None]:
    """Let what draws from torch's global generator draw from another one."""
    before = torch.get_rng_state()
    torch.set_rng_state(generator.get_state())
    try:
        yield
    finally:
        generator.set_state(torch.get_rng_state())
        torch.set_rng_state(before)


class PairItems(TrainItems):
    """Two views of a photograph: ``image`` uint8 (2, 3, S, S), ``target`` uint8 (2, 1, side, side) of 0 and 1.

    Also ``colors`` float32 (2, 5, 2), ``path``, and ``replaced``: the path of the photograph that was asked for where
    another took its place, else None. In both views the share of foreground lies between ``MARGIN`` and 1 - ``MARGIN``;
    otherwise both are drawn again, and from the third failure on from another random photograph each time.

    Args:
        side: Side that masks are reduced to, to their nearest pixels; None is that of the images.
    """

    def __init__(
        self,
        dataset: SegmentationDataset,
        transform: PairTransform,
        seed: int,
        cache: ImageCache | None = None,
        side: int | None = None,
    ) -> None:
        super().__init__(dataset, transform, seed, cache, targets=True)  # type: ignore[arg-type]
        self.pairs = transform
        self.side = side or transform.size

    def _item(self, key: int | tuple[int, int]) -> Item | Emptied:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        generator = self.generator(epoch, index)
        wanted, draws = str(self.dataset.images[index]), _DRAWS
        for _ in range(1 + _OTHERS):
            item = self._drawn(index, draws, generator)
            if item is not None:
                path = str(self.dataset.images[index])
                return item | {"path": path, "replaced": None if path == wanted else wanted}
            index, draws = int(torch.randint(len(self), (), generator=generator)), 1
        return Emptied(wanted)

    def _drawn(self, index: int, draws: int, generator: Generator) -> Item | None:
        """Both views of a photograph; None where no draw shows enough of foreground and background."""
        try:
            image, target = self._read(index)
        except NoForeground:
            return None
        assert isinstance(target, Tensor)
        height, width = image.shape[-2:]
        mask = resize_target((target >= 128).to(torch.uint8), height, width)
        assert isinstance(mask, Tensor)
        for _ in range(draws):
            views = [self.pairs.draw(image, generator) for _ in range(2)]
            masks = resize_target(torch.stack([view.mask(mask) for view in views]), self.side, self.side)
            assert isinstance(masks, Tensor)
            if _show_both(masks):
                colors = np.stack([self.pairs.draw_colors(generator) for _ in views])
                return {"image": torch.stack([view.image(image) for view in views]), "target": masks, "colors": colors}
        return None


def _show_both(masks: Tensor) -> bool:
    """Whether each of (2, 1, side, side) has foreground and background."""
    shares = masks.float().mean((1, 2, 3))
    return bool(((shares > MARGIN) & (shares < 1 - MARGIN)).all())


def collate_pairs(items: Sequence[Item | Skipped | Emptied], size: int, finish: bool = False) -> dict[str, Any]:
    """A batch of B pairs: ``image`` (2B, 3, size, size) and ``target`` (2B, 1, side, side), first views first.

    ``path`` has B names, ``replaced`` those of the photographs whose places others took. The rest is as of
    :func:`segtricks.data.loading.collate_stacked`.
    """
    pairs = [item for item in items if isinstance(item, dict)]
    rest = [item for item in items if not isinstance(item, dict)]
    names = ("image", "target", "colors")
    views = [{name: pair[name][which] for name in names} for which in range(2) for pair in pairs]
    batch = collate_stacked([*views, *rest], names, size, "mask", finish)
    batch["path"] = [pair["path"] for pair in pairs]
    batch["replaced"] = [pair["replaced"] for pair in pairs if pair["replaced"] is not None]
    return batch
