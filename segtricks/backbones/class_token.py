"""The class token of a frozen ViT: one vector of a whole image."""

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from segtricks.backbones.base import Backbone
from segtricks.backbones.vit import ViTBackbone
from segtricks.errors import UserError


@torch.no_grad()
def class_tokens(backbone: Backbone, images: Tensor) -> Tensor:
    """Return the class tokens (B, D), float32, of normalised images (B, 3, H, W), sides multiples of the patch.

    They are those of the layer whose features the backbone gives; made with ``feature="token"``, after the final norm.

    Raises:
        UserError: the backbone has no class token.
    """
    model = backbone.model if isinstance(backbone, ViTBackbone) else None
    if not isinstance(model, VisionTransformer) or not model.has_class_token:
        raise UserError(f"backbone {backbone.name!r} has no class token.\nTake a ViT such as dinov2_vits14.")
    tokens: Tensor = model.forward_features(images.to(next(model.parameters()).dtype))
    return tokens[:, 0].float()
