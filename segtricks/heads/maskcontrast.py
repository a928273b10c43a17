"""The MaskContrast heads: an embedding of every pixel, and whether it belongs to an object."""

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn.functional import interpolate

_WIDTH = 256
_RATES = [12, 24, 36]
_GROUPS = 32


class MaskContrastOutput(NamedTuple):
    """``embedding`` (B, D, h, w), not normalised, and ``saliency`` (B, 1, h, w), logits."""

    embedding: Tensor
    saliency: Tensor

    def enlarged(self, height: int, width: int) -> "MaskContrastOutput":
        """Return both at another size, bilinearly."""
        size = (height, width)
        return MaskContrastOutput(*(interpolate(x, size=size, mode="bilinear", align_corners=False) for x in self))


class _TwoHeads(nn.Module):
    """A decoder to 256 channels and two 1x1 convolutions.

    Args:
        feature_dim: channels C of the backbone's features.
        decoder: features (B, C, h, w) to (B, 256, h, w).
        embedding_dim: dimensions of the embedding.
    """

    def __init__(self, feature_dim: int, decoder: nn.Module, embedding_dim: int) -> None:
        super().__init__()
        if embedding_dim < 1:
            raise ValueError(f"embedding_dim must be at least 1, got {embedding_dim}")
        self.feature_dim, self.embedding_dim, self.width = feature_dim, embedding_dim, _WIDTH
        self.decoder = decoder
        self.embedding = nn.Conv2d(_WIDTH, embedding_dim, 1)
        self.saliency = nn.Conv2d(_WIDTH, 1, 1, bias=False)

    def decode(self, features: Tensor) -> Tensor:
        """Features (B, C, h, w) to (B, 256, h, w), which a linear probe looks at.

        Raises:
            ValueError: if the features have another number of channels.
        """
        if features.ndim != 4 or features.shape[1] != self.feature_dim:
            raise ValueError(f"features must be (B, {self.feature_dim}, h, w), got {tuple(features.shape)}")
        decoded: Tensor = self.decoder(features)
        return decoded

    def forward(self, features: Tensor) -> MaskContrastOutput:
        """Features (B, C, h, w) to embedding (B, D, h, w) and saliency (B, 1, h, w)."""
        decoded = self.decode(features)
        return MaskContrastOutput(self.embedding(decoded), self.saliency(decoded))


class MaskContrastHead(_TwoHeads):
    """The published head for a dilated ResNet: atrous spatial pyramid pooling, a 3x3 convolution, and the two heads.

    16,133,920 parameters at the published size, the defaults. In training its batch norms need two images.

    Args:
        feature_dim: channels of the backbone's features.
        embedding_dim: dimensions of the embedding.

    Source: Van Gansbeke et al., "Unsupervised Semantic Segmentation by Contrasting Object Mask Proposals", ICCV 2021.
    """

    def __init__(self, feature_dim: int = 2048, embedding_dim: int = 32) -> None:
        from torchvision.models.segmentation.deeplabv3 import DeepLabHead  # takes half a second to import

        *layers, _ = DeepLabHead(feature_dim, num_classes=1, atrous_rates=_RATES)
        super().__init__(feature_dim, nn.Sequential(*layers), embedding_dim)


class MaskContrastViTHead(_TwoHeads):
    """Our head for a ViT, whose attention sees the whole image: a 1x1 and a 3x3 convolution, and the two heads.

    Args:
        feature_dim: channels of the backbone's features.
        embedding_dim: dimensions of the embedding.
    """

    def __init__(self, feature_dim: int = 384, embedding_dim: int = 32) -> None:
        decoder = nn.Sequential(
            nn.Conv2d(feature_dim, _WIDTH, 1),
            nn.GroupNorm(_GROUPS, _WIDTH),
            nn.ReLU(),
            nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1),
            nn.GroupNorm(_GROUPS, _WIDTH),
            nn.ReLU(),
        )
        super().__init__(feature_dim, decoder, embedding_dim)
