"""Features of a ResNet's last stage at a stride of 8 pixels, as segmentation networks take them."""

from typing import Self

from timm.models.resnet import ResNet
from torch import Tensor, nn

from segtricks.backbones.base import Backbone
from segtricks.backbones.registry import RESNET_STRIDE
from segtricks.errors import UserError


class ResNetBackbone(Backbone):
    """Output (B, 2048, H / 8, W / 8) of a ResNet whose last two stages are dilated instead of strided.

    Args:
        model: timm ``ResNet`` made with ``output_stride=8`` and holding its weights; its classifier is taken off.
        name: Name for error messages.
        tau: Default affinity threshold, a cosine or ``share:X``.
    """

    def __init__(self, model: ResNet, name: str, tau: float | str) -> None:
        super().__init__(name, RESNET_STRIDE, model.num_features, tau)
        model.reset_classifier(0)
        self.model = model
        self._trained: list[nn.Module] = []

    def thaw(self, blocks: int | None = None) -> None:
        """Let parameters be trained: those of the last ``blocks`` of the four stages, or all.

        Batch norms of what is trained follow ``train()``; all others keep their statistics.
        """
        stages: list[nn.Module] = [getattr(self.model, f"layer{number}") for number in range(1, 5)]
        if blocks is not None and not 0 < blocks <= len(stages):
            raise UserError(
                f"{self.name!r} has 4 stages, and {blocks} of them were to be trained.\n"
                "Next: pass --model.trained_blocks 1 to 4."
            )
        self._trained = [self.model] if blocks is None else stages[-blocks:]
        for part in self._trained:
            part.requires_grad_(True)
        self.frozen = False

    def train(self, mode: bool = True) -> Self:
        """Let what is trained change its mode; all else stays in eval mode."""
        super().train(mode)
        for part in self._trained:
            part.train(mode)
        return self

    def extract(self, images: Tensor) -> Tensor:
        """Features (B, 2048, h, w); sides that are not multiples of 8 are rounded up."""
        features: Tensor = self.model.forward_features(images)
        return features
