"""One vector for each mask of a photograph: of the part of the photograph that its box cuts out."""

from itertools import chain
from typing import get_args

import torch
from torch import Tensor, nn

from segtricks.backbones import create_backbone
from segtricks.backbones.class_token import class_tokens
from segtricks.backbones.registry import last_feature
from segtricks.data.label_entry import Entry
from segtricks.data.transforms import CenterCropTransform, to_input
from segtricks.discovery import pool_regions
from segtricks.words import InstanceFeature


class InstanceEncoder(nn.Module):
    """Cut each mask's box out of a photograph, with a margin, and describe it by a frozen backbone.

    The short side of a crop becomes ``size`` pixels, of which the middle square is seen: the ends of long objects are
    not.

    Args:
        backbone: name of the frozen network (``segtricks.backbones.create_backbone``).
        pretrained: load its published weights.
        checkpoint: a local file with its weights, instead of the download.
        feature: see :data:`InstanceFeature`.
        size: rounded down to whole patches.
        margin: on each side of a box, as a share of its width and height.
        blank: let the background of a mask be of ImageNet's mean colour.

    Raises:
        UserError: the backbone is unknown.

    Source: Niu et al., "Unsupervised Universal Image Segmentation", CVPR 2024, for the class token at 480 pixels. How
    instances were cut out was not published.
    """

    def __init__(
        self,
        backbone: str = "dinov2_vits14",
        pretrained: bool = True,
        checkpoint: str | None = None,
        feature: InstanceFeature = "class_token",
        size: int = 480,
        margin: float = 0.1,
        blank: bool = False,
    ) -> None:
        super().__init__()
        if feature not in get_args(InstanceFeature):
            raise ValueError(f"feature must be {' or '.join(get_args(InstanceFeature))}, got {feature!r}")
        self.backbone = create_backbone(backbone, pretrained, checkpoint, last_feature(backbone))
        self.feature, self.margin, self.blank = feature, margin, blank
        patch = self.backbone.patch_size
        self.size = max(1, size // patch) * patch
        self._middle = CenterCropTransform(self.size, self.size)

    @torch.no_grad()
    def forward(self, photo: Tensor, entry: Entry) -> Tensor:
        """Return (n, D) float32 of a photograph uint8 (3, H, W) and its n masks."""
        device = next(chain(self.parameters(), self.buffers())).device  # the descriptor has buffers alone
        vectors = []
        for place in range(len(entry.masks)):
            crop, inside = self.crop(photo, entry, place)
            image = to_input(crop.to(device))[None]
            if self.blank:
                image = torch.where(inside.to(device), image, 0.0)
            vectors.append(self._vector(image, inside.to(device)))
        return torch.cat(vectors).cpu() if vectors else torch.zeros(0, self.backbone.feature_dim)

    def crop(self, photo: Tensor, entry: Entry, place: int) -> tuple[Tensor, Tensor]:
        """Return a mask's part of the photograph, uint8 (3, size, size), and of the mask, bool (size, size)."""
        left, top, right, bottom = entry.masks[place].box
        across, along = round(self.margin * (right - left)), round(self.margin * (bottom - top))
        rows = slice(max(0, top - along), bottom + along)
        columns = slice(max(0, left - across), right + across)
        mask = torch.from_numpy(entry.array(place))[rows, columns].to(torch.uint8) * 255
        return self._middle(photo[:, rows, columns]), self._middle(mask[None])[0] > 127

    def _vector(self, image: Tensor, inside: Tensor) -> Tensor:
        if self.feature == "class_token":
            return class_tokens(self.backbone, image)
        return pool_regions(self.backbone(image)[0].float(), inside[None])
