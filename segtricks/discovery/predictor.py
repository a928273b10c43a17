"""A backbone and a training-free method, joined: images in, masks out."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from segtricks.backbones import create_backbone
from segtricks.discovery.deep_spectral import deep_spectral
from segtricks.discovery.found import found_background
from segtricks.discovery.lost import lost
from segtricks.discovery.tokencut import tokencut
from segtricks.errors import UserError
from segtricks.heads import load_found_head

DISCOVERY_METHODS = ("tokencut", "lost", "deep_spectral", "found")

WHY_EMPTY = {
    "tokencut": "a uniform image, no patches to part, or features that are not finite",
    "lost": "every patch resembles every other, or features that are not finite",
    "deep_spectral": "a uniform image, no patches to part, or features that are not finite",
    "found": "every patch resembles the background, or features that are not finite",
}
"""What may be the reason that a method finds nothing."""


class Discoverer(nn.Module):
    """Call it on normalised images (B, 3, H, W), sides multiples of ``patch_size``; it returns masks (B, 1, h, w).

    Masks are float32 on the grid of patches: 0 and 1, or with ``head`` probabilities. :meth:`enlarge` takes them to the
    pixels. An image without an object has a mask of zeros.

    Args:
        method: tokencut, lost, deep_spectral or found.
        backbone: name of the frozen network, see :func:`segtricks.backbones.create_backbone`.
        pretrained: load its published weights.
        checkpoint: a file with its weights, instead.
        head: for found, a trained head (:func:`segtricks.heads.load_found_head`) in place of its first step.
        tau: cosine threshold of tokencut.
        k: voters of lost.
        threshold: cosine threshold of found.

    Raises:
        UserError: unknown method, a head for a method that has none or of another width, or found without a head on a
            backbone without attention.
    """

    def __init__(
        self,
        method: str = "tokencut",
        backbone: str = "dino_vits16",
        pretrained: bool = True,
        checkpoint: str | Path | None = None,
        head: str | Path | None = None,
        tau: float = 0.2,
        k: int = 100,
        threshold: float = 0.3,
    ) -> None:
        super().__init__()
        if method not in DISCOVERY_METHODS:
            raise UserError(f"Unknown method {method!r}. Allowed: {', '.join(DISCOVERY_METHODS)}.")
        if head is not None and method != "found":
            raise UserError(f"A head goes with the method found, not with {method}: leave out --head.")
        self.method, self.tau, self.k, self.threshold = method, tau, k, threshold
        self.head = None if head is None else load_found_head(head)
        self.backbone: nn.Module
        if method == "found" and head is None:
            from segtricks.discovery.attention import KeysAndAttention  # timm takes seconds to import

            self.backbone = KeysAndAttention(backbone, pretrained, checkpoint)
        else:
            self.backbone = create_backbone(backbone, pretrained, checkpoint)
        self.patch_size = int(self.backbone.patch_size)
        if self.head is not None and self.head.feature_dim != self.backbone.feature_dim:
            raise UserError(
                f"{head} takes {self.head.feature_dim} channels, backbone {backbone!r} gives "
                f"{self.backbone.feature_dim}.\nThe published heads belong to --backbone dino_vits8."
            )
        self.requires_grad_(False).eval()

    @property
    def soft(self) -> bool:
        """Whether masks are probabilities."""
        return self.head is not None

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Masks (B, 1, h, w) on the patches of normalised images (B, 3, H, W)."""
        if self.method == "found" and self.head is None:
            keys, attention = self.backbone(images)
            return found_background(keys, attention, self.threshold).mask
        features: Tensor = self.backbone(images).float()
        if self.head is not None:
            return self.head(features).sigmoid().nan_to_num(0.0)
        if self.method == "tokencut":
            return tokencut(features, self.tau).mask
        if self.method == "lost":
            return lost(features, self.k).mask
        return deep_spectral(features).mask

    def enlarge(self, masks: Tensor, size: tuple[int, ...]) -> Tensor:
        """Masks (B, 1, h, w) at ``size``: probabilities bilinear, binary masks by the nearest patch."""
        if self.soft:
            return interpolate(masks, size=size, mode="bilinear", align_corners=False)
        return interpolate(masks, size=size, mode="nearest-exact")
