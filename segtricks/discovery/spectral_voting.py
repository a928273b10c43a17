"""Backbones, spectral clusters and a vote, joined: images in, SelfMask's pseudo-masks out."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from segtricks.backbones import create_backbone
from segtricks.backbones.padding import pad_to_patches
from segtricks.backbones.registry import last_feature
from segtricks.discovery.spectral_clusters import clusters_of_image
from segtricks.discovery.voting import vote_mask
from segtricks.errors import UserError

NAME = "spectral_voting"
_CLUSTERS = (2, 3, 4)
_UPSAMPLE = 2


class Ensemble(nn.Module):
    """Several frozen backbones: normalised images (B, 3, H, W) of any size to the features of each.

    Images are padded right and below to whole patches.
    """

    patch_size = 1

    def __init__(
        self,
        names: str,
        pretrained: bool = True,
        checkpoint: str | Path | None = None,
        feature: str | None = None,
        layer: int | None = None,
    ) -> None:
        super().__init__()
        self.name = names
        singles = [name.strip() for name in names.split(",") if name.strip()]
        if not singles:
            raise UserError("No backbone: pass one or several, for example --backbone dino_vits8,dino_vits16.")
        if checkpoint is not None and len(singles) > 1:
            raise UserError(
                f"A file of weights goes with one backbone, and there are {len(singles)}: {names}.\n"
                "Next: pass one --backbone, or leave out --backbone_checkpoint."
            )
        self.backbones = nn.ModuleList(
            create_backbone(name, pretrained, checkpoint, feature or last_feature(name), -1 if layer is None else layer)
            for name in singles
        )
        self.weights = "; ".join(str(backbone.weights) for backbone in self.backbones)
        """Where the weights come from."""

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Features (B, D, h, w) of each backbone, float32."""
        return tuple(
            backbone(pad_to_patches(images, backbone.patch_size)).float()  # type: ignore[arg-type]
            for backbone in self.backbones
        )


class SpectralVoting(nn.Module):
    """Call it on normalised images (B, 3, H, W); it returns masks (B, 1, H, W) of 0 and 1.

    Every backbone gives 2 + 3 + 4 candidates (:func:`segtricks.discovery.spectral_clusters`); the one that wins the
    vote among all of them is the mask (:func:`segtricks.discovery.vote_mask`).

    Args:
        backbone: names, separated by commas; the paper takes two ResNets and DINO ViT-S/16.
        pretrained: load their published weights.
        checkpoint: a file with the weights of a single backbone, instead.
        feature: key, query, value or token; None is token, the last block's output.
        layer: block whose features are taken; None is the last.
        seed: of k-means.

    Source: Shin, Albanie and Xie, "Unsupervised Salient Object Detection with Spectral Cluster Voting", CVPRW 2022.
    """

    soft = False
    why_empty = "a uniform image, or features that are not finite"

    def __init__(
        self,
        backbone: str,
        pretrained: bool = True,
        checkpoint: str | Path | None = None,
        feature: str | None = None,
        layer: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.backbone = Ensemble(backbone, pretrained, checkpoint, feature, layer)
        self.weights, self.seed = self.backbone.weights, seed
        self.requires_grad_(False).eval()

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Masks (B, 1, H, W) of normalised images (B, 3, H, W)."""
        features = self.backbone(images)
        if isinstance(features, Tensor):  # a cache gives those of a single backbone without the tuple
            features = (features,)
        masks = [self._mask([each[i] for each in features], images.shape[-2:]) for i in range(len(images))]
        return torch.stack(masks)[:, None]

    def _mask(self, features: list[Tensor], size: tuple[int, ...]) -> Tensor:
        candidates: list[Tensor] = []
        for backbone, feature in zip(self.backbone.backbones, features, strict=True):
            labels = clusters_of_image(feature, _CLUSTERS, _UPSAMPLE, self.seed)
            patch_size: int = backbone.patch_size  # type: ignore[assignment]
            padded = [side * patch_size for side in feature.shape[-2:]]
            large = interpolate(labels[None].float(), size=padded, mode="nearest-exact")[0]
            large = large[:, : size[0], : size[1]]
            for k, partition in zip(_CLUSTERS, large, strict=True):
                candidates += [partition == number for number in range(k)]
        return vote_mask(torch.stack(candidates)).mask.float()

    def enlarge(self, masks: Tensor, size: tuple[int, ...]) -> Tensor:
        """Masks (B, 1, H, W) at ``size``, by the nearest pixel."""
        return interpolate(masks, size=size, mode="nearest-exact")

    def why_one_sided(self) -> str:
        """Return what to type next where many masks are of nothing or of everything."""
        return "Next: pass more or other networks with --backbone A,B, or another --feature."
