"""Soft masks of a film, steadied in time."""

from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

_GRID = 16
_CUT = 0.12  # mean difference of colours in 0..1


class Steady:
    """Average each soft mask with those of the frames before: an exponential moving average.

    The mask of a frame is ``weight`` times the average so far and ``1 - weight`` times its own. It starts again at a
    cut: where the colours of a frame, averaged in 16 x 16 fields, differ from those of the frame before by more than
    0.12 of their range, or its size does.

    Args:
        weight: in (0, 1); at 0.8 a change takes about five frames.
    """

    def __init__(self, weight: float) -> None:
        self.weight = weight
        self._mean: Tensor | None = None
        self._colours: Tensor | None = None

    def __call__(self, mask: Tensor, photo: Tensor) -> Tensor:
        """Return the steadied mask (1, H, W) of the next frame: ``mask`` of its size, ``photo`` (3, H, W) uint8."""
        colours = adaptive_avg_pool2d(photo.float() / 255, _GRID)
        mean = mask.float()
        if self._mean is not None and self._mean.shape == mask.shape and not self._is_cut(colours):
            mean = self.weight * self._mean.to(mask.device) + (1 - self.weight) * mean
        self._mean, self._colours = mean, colours
        return mean

    def _is_cut(self, colours: Tensor) -> bool:
        return self._colours is None or float((colours - self._colours).abs().mean()) > _CUT
