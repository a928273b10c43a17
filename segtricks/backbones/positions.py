"""DINO's and SelfMask's ways to fit position embeddings to another grid, put in front of an unchanged timm model."""

from collections.abc import Callable

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


def resize_positions_to(positions: Tensor, grid: tuple[int, int]) -> Tensor:
    """The same in SelfMask's way: bicubic to the size, without antialias.

    A grid of as many patches as the trained one gets the trained positions one after the other, whatever its shape, as
    in the published code.
    """
    if positions.shape[-2] * positions.shape[-1] == grid[0] * grid[1]:
        return positions.flatten(2).unflatten(2, grid)
    resized = F.interpolate(positions.float(), size=grid, mode="bicubic", align_corners=False)
    return resized.to(positions.dtype)


Resize = Callable[[Tensor, tuple[int, int]], Tensor]


class PositionedPatchEmbed(nn.Module):
    """timm's patch embedding with the fitted positions added.

    Called on images (B, 3, H, W); returns tokens (B, h, w, D), or the whole sequence (B, P + h·w, D) if it was
    given P prefix tokens.

    Args:
        patch_embed: timm's module, in its dynamic form: images to (B, h, w, D).
        positions: Trained embeddings (1, D, H0, W0).
        prefix: Prefix tokens (1, P, D).
        prefix_positions: Their position embeddings (1, P, D), None where they have none.
        resize: Fits the embeddings to another grid.
    """

    def __init__(
        self,
        patch_embed: nn.Module,
        positions: Tensor,
        prefix: Tensor | None = None,
        prefix_positions: Tensor | None = None,
        resize: Resize = resize_positions,
    ) -> None:
        super().__init__()
        self.patch_embed, self.resize = patch_embed, resize
        self.positions = nn.Parameter(positions, requires_grad=False)
        self.prefix = None if prefix is None else nn.Parameter(prefix, requires_grad=False)
        self.prefix_positions = None
        if prefix_positions is not None:
            self.prefix_positions = nn.Parameter(prefix_positions, requires_grad=False)

    def forward(self, images: Tensor) -> Tensor:
        """Tokens of the images, positions added."""
        tokens: Tensor = self.patch_embed(images)
        grid = (tokens.shape[1], tokens.shape[2])
        tokens = tokens + self.resize(self.positions, grid).permute(0, 2, 3, 1)
        if self.prefix is None:
            return tokens
        prefix = self.prefix if self.prefix_positions is None else self.prefix + self.prefix_positions
        return torch.cat([prefix.expand(tokens.shape[0], -1, -1), tokens.flatten(1, 2)], dim=1)


def use_dino_positions(model: VisionTransformer | Eva, resize: Resize = resize_positions) -> None:
    """Make a timm ViT fit its position embeddings DINO's way, or another; in place, by its public modules alone.

    The model loses its own absolute positions (``pos_embed`` None) and gets them with the patches instead.
    A model without absolute positions, as DINOv3 with its rotary ones, stays as it is.

    Args:
        model: ``VisionTransformer`` or ``Eva``, made with ``dynamic_img_size=True``.
        resize: :func:`resize_positions`, or :func:`resize_positions_to`.
    """
    if model.pos_embed is None:
        return
    embedding = model.pos_embed.detach()
    tokens = [token.detach() for token in (model.cls_token, model.reg_token) if token is not None]
    prefix = torch.cat(tokens, dim=1) if tokens else None
    prefix_positions = None
    if prefix is not None and not model.no_embed_class:
        prefix_positions, embedding = embedding.split([prefix.shape[1], embedding.shape[1] - prefix.shape[1]], dim=1)
    grid = model.patch_embed.grid_size
    positions = embedding.unflatten(1, grid).permute(0, 3, 1, 2).contiguous()
    model.pos_embed = None
    if isinstance(model, Eva) and prefix is not None:  # Eva joins its prefix tokens itself, after the patches
        if prefix_positions is not None:
            prefix = prefix + prefix_positions
        model.cls_token = nn.Parameter(prefix[:, :1], requires_grad=False)
        model.reg_token = nn.Parameter(prefix[:, 1:], requires_grad=False) if prefix.shape[1] > 1 else None
        prefix = prefix_positions = None
    elif prefix is not None:  # timm 1.0.20's VisionTransformer forgets them when it has no pos_embed
        model.cls_token = model.reg_token = None
    model.patch_embed = PositionedPatchEmbed(model.patch_embed, positions, prefix, prefix_positions, resize)
