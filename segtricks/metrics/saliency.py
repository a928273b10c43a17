"""Every figure of one protocol as a torchmetrics class."""

from dataclasses import asdict
from typing import Any

from torch import Tensor
from torchmetrics import Metric

from segtricks.metrics.base import keep_apart
from segtricks.metrics.functional.saliency import ImageScores, SaliencySums, empty_sums
from segtricks.metrics.protocols import PROTOCOLS, Protocol


class SaliencyScores(SaliencySums, Metric):
    """Every figure of one protocol: ``compute`` returns ``MASK_MEASURES`` by name, float64 in [0, 1].

    ``update(pred, target)`` takes (B, 1, H, W): probabilities in [0, 1], and masks as bool, 0/1 or 0..255. Resizing
    and polarity are the caller's. The figures are those of all processes.

    Args:
        protocol: ``fullres`` by default.
    """

    full_state_update = False

    def __init__(self, protocol: Protocol | None = None, **kwargs: Any) -> None:
        Metric.__init__(self, **kwargs)
        self.protocol = protocol or PROTOCOLS["fullres"]
        keep_apart(self, *asdict(self.protocol).values())
        for name, zeros in empty_sums(self.protocol).items():
            self.add_state(name, zeros, dist_reduce_fx="sum")

    def update(self, pred: Tensor, target: Tensor) -> None:
        """Score and add a batch of images of one size."""
        super().update(pred, target)

    def add(self, image: ImageScores) -> None:
        """Add an image that was scored elsewhere by the same protocol."""
        self._computed = None
        self._update_count += 1
        super().add(image)

    def counts(self) -> tuple[int, int]:
        """Return the number of images, and of those empty in prediction and target, which have no IoU."""
        with self.sync_context():
            return super().counts()

    def curves(self) -> dict[str, list[float]]:
        """Return ``precision``, ``recall`` and ``f`` at each threshold."""
        with self.sync_context():
            return super().curves()

    def size_bins(self) -> list[dict[str, float | int | None]]:
        """Return mean IoU by the share of the image that the object covers, in equal bins from 0 to 1."""
        with self.sync_context():
            return super().size_bins()
