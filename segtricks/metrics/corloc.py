"""Correct localisation: one box from a mask, against the boxes of the image."""

from collections.abc import Sequence
from typing import Any, get_args

import torch
from torch import Tensor
from torchmetrics import Metric

from segtricks.metrics.base import keep_apart
from segtricks.metrics.functional.boxes import is_hit, mask_box
from segtricks.words import Select


class CorLoc(Metric):
    """Share of images whose box has an IoU of at least 0.5 with any box of the image; an empty mask is a miss.

    So is any mask of an image without boxes: leave such images out where a benchmark does.

    Args:
        select: which component gives the box, see :func:`mask_box`.
        threshold: foreground is ``mask > threshold``.

    Raises:
        ValueError: if ``select`` is none of these.

    Source: Deselaers, Alexe and Ferrari, 2010; the component rules of LOST, TokenCut, FOUND and arXiv 2404.03392.
    """

    full_state_update = False
    higher_is_better = True
    hits: Tensor
    images: Tensor

    def __init__(self, select: Select = "largest_bbox", threshold: float = 0.5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if select not in get_args(Select):
            raise ValueError(f"select must be {', '.join(get_args(Select))}, got {select!r}")
        self.select, self.threshold = select, threshold
        keep_apart(self, select, threshold)
        self.add_state("hits", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("images", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(
        self, masks: Tensor | Sequence[Tensor], boxes: Sequence[Tensor], seeds: Sequence[Any] | None = None
    ) -> None:
        """Add a batch of images.

        Args:
            masks: (B, 1, H, W), or one (1, H, W) for each image where sizes differ; at the size the boxes refer to.
            boxes: (n, 4) half-open x0, y0, x1, y1 in pixels for each image, n may be 0.
            seeds: row and column for each image, for ``select="seed"``.

        Raises:
            ValueError: if the numbers of masks and boxes differ, or a shape is wrong.
        """
        if len(masks) != len(boxes):
            raise ValueError(f"{len(masks)} masks but boxes of {len(boxes)} images")
        for i, (mask, truth) in enumerate(zip(masks, boxes, strict=True)):
            if mask.ndim != 3 or len(mask) != 1:
                raise ValueError(f"a mask must be (1, H, W), got {tuple(mask.shape)}")
            if truth.numel() and (truth.ndim != 2 or truth.shape[1] != 4):
                raise ValueError(f"boxes must be (n, 4), got {tuple(truth.shape)}")
            self.add(self.is_hit(mask, truth, None if seeds is None else seeds[i]))

    def is_hit(self, mask: Tensor, boxes: Tensor, seed: Any = None) -> bool:
        """Return whether the box of one mask (1, H, W) hits any of ``boxes`` (n, 4); no state is touched."""
        return is_hit(mask_box(mask, self.select, self.threshold, seed), boxes)

    def add(self, hit: bool) -> None:
        """Add an image that was judged elsewhere."""
        self._computed = None
        self._update_count += 1
        self.hits += hit
        self.images += 1

    def compute(self) -> Tensor:
        """Return the share of hits, float64; nan before the first image."""
        return self.hits.double() / self.images
