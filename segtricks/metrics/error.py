"""Mean absolute error of soft maps."""

from typing import Any

from torch import Tensor

from segtricks.metrics.apart import keep_apart
from segtricks.metrics.image_mean import ImageMean
from segtricks.metrics.inputs import binary_target, check_masks


def mean_absolute_error(pred: Tensor, truth: Tensor) -> Tensor:
    """Return the mean of ``|pred - truth|`` of each image: (B, 1, H, W) in [0, 1] and bool, to (B,) float64.

    Source: Perazzi et al., "Saliency filters", CVPR 2012.
    """
    return (pred.double() - truth.double()).abs().flatten(1).mean(dim=1)


class MeanAbsoluteError(ImageMean):
    """Mean over images of :func:`mean_absolute_error`; lower is better.

    ``update(pred, target)`` takes (B, 1, H, W): probabilities in [0, 1], and masks as bool, 0/1 or 0..255.

    Args:
        target_threshold: target foreground is ``target > target_threshold``, on a scale of 0 to 1.
    """

    higher_is_better = False

    def __init__(self, target_threshold: float = 0.5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.target_threshold = target_threshold
        keep_apart(self, target_threshold)

    def update(self, pred: Tensor, target: Tensor) -> None:
        """Add a batch of images."""
        check_masks(pred, target)
        self.add(mean_absolute_error(pred, binary_target(target, self.target_threshold)))
