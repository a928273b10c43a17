"""Keys of a ViT's last block together with its class token's attention, in one pass."""

from pathlib import Path
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from segtricks.backbones import create_backbone
from segtricks.backbones.vit import QKVSlice, ViTBackbone
from segtricks.errors import UserError


class KeysAndAttention(nn.Module):
    """A frozen ViT: normalised images (B, 3, H, W) to keys (B, D, h, w) and attention (B, heads, N).

    The attention is that of the class token to the N = h·w patches in the last block, after the softmax over all
    tokens (so it sums to less than 1), one map a head.

    Args:
        name: backbone, a ``VisionTransformer`` of timm with a class token.
        pretrained: take the weights from the first source that has them.
        checkpoint: a file with its weights, instead.

    Attributes:
        weights: where the weights came from, as of :class:`segtricks.backbones.Backbone`.

    Raises:
        UserError: if the backbone has no class token or no attention that can be read.
    """

    def __init__(self, name: str, pretrained: bool = True, checkpoint: str | Path | None = None) -> None:
        super().__init__()
        backbone = create_backbone(name, pretrained, checkpoint)
        model = backbone.model if isinstance(backbone, ViTBackbone) else None
        if not isinstance(model, VisionTransformer) or model.num_prefix_tokens < 1 or not model.has_class_token:
            raise UserError(
                f"backbone {name!r} has no class token whose attention could be read, which FOUND needs.\n"
                "Take a ViT such as dino_vits8; or pass a trained head with --head, or another --method."
            )
        other = create_backbone(name, pretrained, checkpoint, feature="query")
        assert isinstance(other, ViTBackbone)
        key, query = model.blocks[-1], other.model.blocks[-1]
        assert isinstance(key, QKVSlice) and isinstance(query, QKVSlice)
        self.name, self.patch_size, self.feature_dim = name, backbone.patch_size, backbone.feature_dim
        self.weights = backbone.weights
        self.heads, self.width = self.feature_dim // key.head_dim, key.head_dim
        model.blocks[-1] = _QueryAndKey(query, key)
        self.model = model.requires_grad_(False).eval()

    @torch.no_grad()
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and attention, both float32."""
        grid = [side // self.patch_size for side in images.shape[-2:]]
        both: Tensor = self.model.forward_features(images.to(next(self.model.parameters()).dtype)).float()
        query, key = (part.unflatten(2, (self.heads, self.width)).transpose(1, 2) for part in both.chunk(2, dim=2))
        attention = (query[:, :, :1] @ key.mT * self.width**-0.5).softmax(dim=3)[:, :, 0]
        patches = self.model.num_prefix_tokens
        features = key[:, :, patches:].transpose(2, 3).flatten(1, 2).unflatten(2, grid)
        return features, attention[:, :, patches:]

    def train(self, mode: bool = True) -> "KeysAndAttention":
        """Stay in eval mode."""
        return super().train(False)


class _QueryAndKey(nn.Module):
    def __init__(self, query: QKVSlice, key: QKVSlice) -> None:
        super().__init__()
        self.query, self.key = query, key

    def forward(self, tokens: Tensor, **options: Any) -> Tensor:
        return torch.cat([self.query(tokens, **options), self.key(tokens, **options)], dim=2)
