"""Named evaluation protocols: every choice that changes a number, in one frozen record."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torchmetrics import MetricCollection

from segtricks.errors import UserError
from segtricks.metrics.fbeta import MaxFBeta
from segtricks.metrics.overlap import MaskIoU, PixelAccuracy


@dataclass(frozen=True)
class Protocol:
    """How predictions and targets become numbers; written whole into every result.

    Args:
        name: the protocol's name.
        resolution: ``target`` scores at the target's own size; ``crop`` at the model's, on a resized centre crop.
        polarity: which masks are inverted where their mean exceeds 0.5: each ``image`` by its own, a whole ``batch``
            by the batch's, or ``none``.
        bn_mode: ``eval`` uses the running statistics; ``batch`` those of the test batch, as the first code did.
        threshold: accuracy and IoU count ``pred > threshold``.
        target_threshold: and ``target > target_threshold`` (0 to 1; 0.5 is ≥ 128 of 255).
        f_target_threshold: the same for the F-measure.
        beta2: β² of the F-measure.
        resize: short side in pixels before the crop, for ``crop``.
        size: side of the crop, for ``crop``.
        batch_size: images per batch, where polarity or batch norm depend on it.
    """

    name: str
    resolution: Literal["target", "crop"] = "target"
    polarity: Literal["image", "batch", "none"] = "image"
    bn_mode: Literal["eval", "batch"] = "eval"
    threshold: float = 0.5
    target_threshold: float = 0.5
    f_target_threshold: float = 0.5
    beta2: float = 0.3
    resize: int | None = None
    size: int | None = None
    batch_size: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return every choice as plain data."""
        return dataclasses.asdict(self)


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("fullres"),
        Protocol(
            "two-tricks",
            resolution="crop",
            polarity="batch",
            bn_mode="batch",
            f_target_threshold=0.0,
            resize=335,
            size=320,
            batch_size=8,
        ),
    )
}


def get_protocol(name: str) -> Protocol:
    """Return the protocol of that name.

    Raises:
        UserError: if there is none; the message lists the names.
    """
    if name not in PROTOCOLS:
        raise UserError(f"Unknown protocol {name!r}. Allowed: {', '.join(PROTOCOLS)}.")
    return PROTOCOLS[name]


def apply_polarity(prob: Tensor, polarity: str) -> Tensor:
    """Return ``prob`` (B, 1, H, W) with masks whose mean exceeds 0.5 inverted: per image, per batch or none."""
    if polarity == "none":
        return prob
    dims = (1, 2, 3) if polarity == "image" else (0, 1, 2, 3)
    return torch.where(prob.mean(dim=dims, keepdim=True) > 0.5, 1 - prob, prob)


class SaliencyScores(MetricCollection):
    """Accuracy, IoU and maximum F of one protocol; ``compute`` returns ``{"acc", "iou", "max_fbeta"}``."""

    def __init__(self, protocol: Protocol | None = None) -> None:
        choice = protocol or PROTOCOLS["fullres"]
        super().__init__(
            {
                "acc": PixelAccuracy(choice.threshold, choice.target_threshold),
                "iou": MaskIoU(choice.threshold, choice.target_threshold),
                "max_fbeta": MaxFBeta(choice.beta2, choice.f_target_threshold),
            },
            compute_groups=False,
        )

    def counts(self) -> tuple[int, int]:
        """Return the number of images, and of those empty in prediction and target, which have no IoU."""
        accuracy, iou = self["acc"], self["iou"]
        assert isinstance(accuracy, PixelAccuracy) and isinstance(iou, MaskIoU)
        return int(accuracy.images), int(iou.empty)
