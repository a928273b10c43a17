"""A backbone and a training-free method, joined: images in, masks out."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from segtricks.backbones import create_backbone
from segtricks.backbones.affinity import Affinity, affinity_of
from segtricks.discovery.methods import METHODS, create_method
from segtricks.errors import UserError
from segtricks.heads import load_found_head
from segtricks.losses.tau import Graph, Tau, measure_graph

_EXPLAINED = 32  # empty masks whose graphs are measured


class Discoverer(nn.Module):
    """Call it on normalised images (B, 3, H, W), sides multiples of ``patch_size``; it returns masks (B, 1, h, w), of
    maskcut (B, rounds, h, w).

    Masks are float32 on the grid of patches: 0 and 1, or with ``head`` probabilities. :meth:`enlarge` takes them to the
    pixels. An image without an object has a mask of zeros.

    Args:
        method: tokencut, lost, deep_spectral, found or maskcut.
        backbone: name of the frozen network, see :func:`segtricks.backbones.create_backbone`.
        pretrained: load its published weights.
        checkpoint: a file with its weights, instead.
        head: for found, a trained head (:func:`segtricks.heads.load_found_head`) in place of its first step.
        tau: threshold of the affinity of all methods but found, a cosine or ``share:X`` of each photograph's pairs of
            patches (:mod:`segtricks.losses.tau`); None is the backbone's own
            (:mod:`segtricks.backbones.affinity`).
        k: voters of lost.
        threshold: the same for found's background; None is the backbone's own.
        feature: key, query, value or token; None is the backbone's own. found takes keys.
        layer: block whose features are taken; None is the backbone's own. found takes the last.
        rounds: objects of a photograph that maskcut looks for, at most.
        skip_refused: let maskcut look behind objects that it refuses.

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
        tau: Tau | None = None,
        k: int = 100,
        threshold: Tau | None = None,
        feature: str | None = None,
        layer: int | None = None,
        rounds: int = 3,
        skip_refused: bool = False,
    ) -> None:
        super().__init__()
        own = affinity_of(backbone, method, feature, layer) if method in METHODS else Affinity("key", -1, 0.0)
        self.method = create_method(method, own.tau, tau, threshold, k=k, rounds=rounds, skip_refused=skip_refused)
        if head is not None and not self.method.needs_attention:
            raise UserError(f"A head goes with the method found, not with {method}: leave out --head.")
        if self.method.needs_attention and (feature not in (None, "key") or layer not in (None, -1)):
            raise UserError(f"{method} takes the keys of the last layer: leave out --feature and --layer.")
        self.head = None if head is None else load_found_head(head)
        self.backbone: nn.Module
        if self.method.needs_attention and head is None:
            from segtricks.backbones.keys_and_attention import KeysAndAttention  # timm takes seconds to import

            self.backbone = KeysAndAttention(backbone, pretrained, checkpoint)
        else:
            self.backbone = create_backbone(backbone, pretrained, checkpoint, own.feature, own.layer)
        self.patch_size = int(self.backbone.patch_size)
        if self.head is not None and self.head.feature_dim != self.backbone.feature_dim:
            raise UserError(
                f"{head} takes {self.head.feature_dim} channels, backbone {backbone!r} gives "
                f"{self.backbone.feature_dim}.\nThe published heads belong to --backbone dino_vits8."
            )
        self.weights = str(getattr(self.backbone, "weights", ""))
        """Where the backbone's weights come from."""
        self._empty: list[Graph] = []
        self._broken = 0
        self.requires_grad_(False).eval()

    @property
    def soft(self) -> bool:
        """Whether masks are probabilities."""
        return self.head is not None

    def forward(self, images: Tensor) -> Tensor:
        """Masks (B, n, h, w) on the patches of normalised images (B, 3, H, W)."""
        return self.masks_and_features(images)[0]

    @torch.no_grad()
    def masks_and_features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the masks, and the features (B, D, h, w) that they were found by."""
        if self.head is not None:
            features = self.backbone(images).float()
            masks: Tensor = self.head(features).sigmoid().nan_to_num(0.0)
        elif self.method.needs_attention:
            features, attention = self.backbone(images)
            masks = self.method(features, attention)
        else:
            features = self.backbone(images).float()
            masks = self.method(features)
        self._note(features, masks)
        return masks, features

    def _note(self, features: Tensor, masks: Tensor) -> None:
        """Keep what explains the first empty masks."""
        for feature, mask in zip(features, masks, strict=True):
            if len(self._empty) >= _EXPLAINED or bool((mask > 0.5).any()):
                continue
            if bool(feature.isfinite().all()):
                self._empty.append(measure_graph([feature], self.method.cosine))
            else:
                self._broken += 1

    @property
    def why_empty(self) -> str:
        """Why a mask may be empty."""
        return self.method.why_empty

    def why_one_sided(self) -> str:
        """Return why masks of nothing or of everything are likely, and what to type next, from those seen so far."""
        if self._broken > len(self._empty):
            return (
                "The backbone's features are not finite (nan or infinity).\n"
                "Next: pass other weights with --backbone_checkpoint FILE."
            )
        if self.head is not None:
            return "Next: try another --head, or leave it out."
        option, given = self.method.option, self.method.cosine
        other = "share:0.3" if given == "share:0.5" else "share:0.5"
        more = "another --backbone" if self.method.needs_attention else "another --feature or --backbone"
        if not self._empty:
            return f"Next: try another --{option}, such as {other}, or {more}."
        graph = sorted(self._empty, key=lambda graph: graph.share)[len(self._empty) // 2]
        if graph.uniform:
            return "In a typical one all patches are alike: photographs of one colour have no object."
        return f"In a typical one, {graph}.\nNext: --{option} {other}, or {more}."

    def enlarge(self, masks: Tensor, size: tuple[int, ...]) -> Tensor:
        """Masks (B, n, h, w) at ``size``: probabilities bilinear, binary masks by the nearest patch."""
        if self.soft:
            return interpolate(masks, size=size, mode="bilinear", align_corners=False)
        return interpolate(masks, size=size, mode="nearest-exact")
