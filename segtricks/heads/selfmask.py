"""The SelfMask head: learned queries, each of which predicts a mask and how good it is."""

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate


class SelfMaskOutput(NamedTuple):
    """Logits of every decoder layer and query: ``masks`` (B, L, Q, h, w) and ``objectness`` (B, L, Q)."""

    masks: Tensor
    objectness: Tensor


class SelfMaskHead(nn.Module):
    """A transformer decoder without position encoding of the patches, after MaskFormer.

    A mask's logits are the inner products of a query's output with the enlarged patch features; objectness is an MLP of
    that output, shared by all layers. 14,504,065 parameters at the published size, the defaults.

    Args:
        feature_dim: channels D of the patch features, and width of the decoder.
        num_queries: masks Q of each layer.
        num_layers: decoder layers L.
        num_heads: attention heads, a divisor of ``feature_dim``.
        upsample: factor of the masks' size to that of the patch grid.

    Source: Shin, Albanie and Xie, "Unsupervised Salient Object Detection with Spectral Cluster Voting", CVPRW 2022.
    """

    def __init__(
        self,
        feature_dim: int = 384,
        num_queries: int = 20,
        num_layers: int = 6,
        num_heads: int = 6,
        upsample: int = 2,
    ) -> None:
        super().__init__()
        if min(num_queries, num_layers, num_heads, upsample) < 1:
            raise ValueError("num_queries, num_layers, num_heads and upsample must be at least 1")
        if feature_dim % num_heads:
            raise ValueError(f"num_heads must divide feature_dim {feature_dim}, got {num_heads}")
        self.feature_dim, self.upsample = feature_dim, upsample
        self.queries = nn.Parameter(torch.randn(num_queries, feature_dim))
        layer = _DecoderLayer(feature_dim, num_heads, 4 * feature_dim, dropout=0.0, batch_first=True)
        # All layers start alike, as in the published code.
        self.layers = nn.ModuleList(copy.deepcopy(layer) for _ in range(num_layers))
        self.norm = nn.LayerNorm(feature_dim)
        self.objectness = nn.Sequential(
            nn.Linear(feature_dim, feature_dim),
            nn.ReLU(),
            nn.Linear(feature_dim, feature_dim),
            nn.ReLU(),
            nn.Linear(feature_dim, 1),
        )

    def forward(self, features: Tensor) -> SelfMaskOutput:
        """Features (B, D, h, w) to masks (B, L, Q, upsample * h, upsample * w) and objectness (B, L, Q).

        Raises:
            ValueError: if the features have another number of channels.
        """
        if features.ndim != 4 or features.shape[1] != self.feature_dim:
            raise ValueError(f"features must be (B, {self.feature_dim}, h, w), got {tuple(features.shape)}")
        memory = features.flatten(2).transpose(1, 2)
        state = torch.zeros_like(self.queries).expand(features.shape[0], -1, -1)
        states = []
        for layer in self.layers:
            state = layer(state, memory, self.queries)
            states.append(self.norm(state))
        decoded = torch.stack(states, dim=1)
        pixels = interpolate(features, scale_factor=self.upsample, mode="bilinear", align_corners=False)
        masks = torch.einsum("blqd,bdhw->blqhw", decoded, pixels.to(decoded.dtype))
        return SelfMaskOutput(masks, self.objectness(decoded)[..., 0])


class _DecoderLayer(nn.TransformerDecoderLayer):
    """DETR's layer: norms come last, and the queries' positions are added where attention compares, not to its values.

    Takes states (B, Q, D), memory (B, N, D) and positions (Q, D).
    """

    def forward(self, state: Tensor, memory: Tensor, position: Tensor) -> Tensor:  # type: ignore[override]
        query = state + position
        state = self.norm1(state + self.self_attn(query, query, state, need_weights=False)[0])
        state = self.norm2(state + self.multihead_attn(state + position, memory, memory, need_weights=False)[0])
        return self.norm3(state + self.linear2(self.linear1(state).relu()))


def select_query(masks: Tensor, objectness: Tensor, scale: float = 4, size: tuple[int, int] | None = None) -> Tensor:
    """Return the mask of the highest objectness of each image, enlarged bilinearly: (B, 1, H, W) probabilities.

    Args:
        masks: (B, Q, h, w) probabilities of one decoder layer.
        objectness: (B, Q), of any monotonic scale.
        scale: pixels of the image to one of the masks: patch size over the head's ``upsample``.
        size: height and width of the image, to which the padding right and below is cut off; None keeps it.
    """
    best = objectness.argmax(dim=1)
    chosen = masks[torch.arange(masks.shape[0], device=masks.device), best][:, None]
    full: list[int] = []
    for side in masks.shape[-2:]:
        # Of whole factors no rounding, which torch.export cannot write for sides that are left open.
        full.append(side * int(scale) if int(scale) == scale else round(side * scale))
    large = interpolate(chosen, size=full, mode="bilinear", align_corners=False)
    return large if size is None else large[..., : size[0], : size[1]]
