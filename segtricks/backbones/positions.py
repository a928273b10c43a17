"""DINO's way to fit trained position embeddings to another grid, put in front of an unchanged timm model."""

import torch
import torch.nn.functional as F
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn


def resize_positions(positions: Tensor, grid: tuple[int, int]) -> Tensor:
    """Position embeddings (1, D, H0, W0) on another grid (h, w), as (1, D, h, w) of the same dtype.

    Bicubic by the scale factors (h + 0.1) / H0 and (w + 0.1) / W0, sampled at these very factors, without
    antialias: DINO's code, which iBOT and DINOv2 without registers kept. The 0.1 keeps the rounded-down
    size from falling one short; it also shifts the samples a little, which is why resizing to a size differs.
    The trained grid comes back untouched.
    """
    trained = positions.shape[-2:]
    if tuple(trained) == grid:
        return positions
    factors = [(new + 0.1) / old for new, old in zip(grid, trained, strict=True)]
    resized = F.interpolate(positions.float(), scale_factor=factors, mode="bicubic", align_corners=False)
    assert resized.shape[-2:] == grid, f"{tuple(resized.shape[-2:])} instead of {grid}"
    return resized.to(positions.dtype)


class PositionedPatchEmbed(nn.Module):
    """timm's patch embedding with the fitted positions added.

    Called on images (B, 3, H, W); returns tokens (B, h, w, D), or the whole sequence (B, P + h·w, D) if it was
    given P prefix tokens.

    Args:
        patch_embed: timm's module, in its dynamic form: images to (B, h, w, D).
        positions: Trained embeddings (1, D, H0, W0).
        prefix: Prefix tokens (1, P, D), their own position embeddings included.
    """

    def __init__(self, patch_embed: nn.Module, positions: Tensor, prefix: Tensor | None = None) -> None:
        super().__init__()
        self.patch_embed = patch_embed
        self.positions = nn.Parameter(positions, requires_grad=False)
        self.prefix = None if prefix is None else nn.Parameter(prefix, requires_grad=False)

    def forward(self, images: Tensor) -> Tensor:
        """Tokens of the images, positions added."""
        tokens: Tensor = self.patch_embed(images)
        grid = (tokens.shape[1], tokens.shape[2])
        tokens = tokens + resize_positions(self.positions, grid).permute(0, 2, 3, 1)
        if self.prefix is None:
            return tokens
        return torch.cat([self.prefix.expand(len(tokens), -1, -1), tokens.flatten(1, 2)], dim=1)


def use_dino_positions(model: VisionTransformer | Eva) -> None:
    """Make a timm ViT fit its position embeddings DINO's way; in place, by its public modules alone.

    The model loses its own absolute positions (``pos_embed`` None) and gets them with the patches instead.
    A model without absolute positions, as DINOv3 with its rotary ones, stays as it is.

    Args:
        model: ``VisionTransformer`` or ``Eva``, made with ``dynamic_img_size=True``.
    """
    if model.pos_embed is None:
        return
    embedding = model.pos_embed.detach()
    tokens = [token.detach() for token in (model.cls_token, model.reg_token) if token is not None]
    prefix = torch.cat(tokens, dim=1) if tokens else None
    if prefix is not None and not model.no_embed_class:
        count = prefix.shape[1]
        prefix, embedding = prefix + embedding[:, :count], embedding[:, count:]
    grid = model.patch_embed.grid_size
    positions = embedding.unflatten(1, grid).permute(0, 3, 1, 2).contiguous()
    model.pos_embed = None
    if isinstance(model, Eva) and prefix is not None:  # Eva joins its prefix tokens itself, after the patches
        model.cls_token = nn.Parameter(prefix[:, :1], requires_grad=False)
        model.reg_token = nn.Parameter(prefix[:, 1:], requires_grad=False) if prefix.shape[1] > 1 else None
        prefix = None
    elif prefix is not None:  # timm 1.0.20's VisionTransformer forgets them when it has no pos_embed
        model.cls_token = model.reg_token = None
    model.patch_embed = PositionedPatchEmbed(model.patch_embed, positions, prefix)
