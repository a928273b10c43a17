"""Small random ViTs and independent references for the backbone tests."""

from functools import partial
from typing import Any

import numpy as np
import torch
from timm.layers import LayerNorm
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn


def scramble(model: nn.Module, seed: int = 0) -> nn.Module:
    """Move every parameter off its initial value, so that no bias, norm or scale is trivially right."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def small_vit(**options: Any) -> VisionTransformer:
    defaults = dict(img_size=32, patch_size=8, embed_dim=32, depth=3, num_heads=2, num_classes=0, dynamic_img_size=True)
    return scramble(VisionTransformer(**(defaults | options)))


def small_dinov3(**options: Any) -> Eva:
    """DINOv3's architecture (rotary, 5 prefix tokens, layer scale) at toy size."""
    defaults = dict(
        img_size=64,
        patch_size=16,
        embed_dim=32,
        depth=2,
        num_heads=2,
        num_classes=0,
        dynamic_img_size=True,
        qkv_bias=False,
        init_values=1e-5,
        rope_type="dinov3",
        rope_rotate_half=True,
        use_rot_pos_emb=True,
        use_abs_pos_emb=False,
        num_reg_tokens=4,
        use_fc_norm=False,
        norm_layer=partial(LayerNorm, eps=1e-5),
    )
    return scramble(Eva(**(defaults | options)))


def random_images(height: int, width: int, batch: int = 2) -> Tensor:
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(1))


def as_map(tokens: Tensor, prefix: int, height: int, width: int) -> Tensor:
    """(B, P + h·w, D) to (B, D, h, w), written out instead of borrowed."""
    patches = tokens[:, prefix:]
    return torch.stack([patches[:, row * width : (row + 1) * width] for row in range(height)], dim=1).permute(
        0, 3, 1, 2
    )


def cubic_matrix(old: int, new: int, a: float = -0.75) -> np.ndarray:
    """(new, old) weights of cubic convolution at scale (new + 0.1) / old, borders repeated (Keys, 1981)."""
    scale = (new + 0.1) / old
    matrix = np.zeros((new, old))
    for row in range(new):
        source = (row + 0.5) / scale - 0.5
        for tap in range(int(np.floor(source)) - 1, int(np.floor(source)) + 3):
            x = abs(source - tap)
            near = (a + 2) * x**3 - (a + 3) * x**2 + 1
            far = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
            matrix[row, min(max(tap, 0), old - 1)] += near if x <= 1 else far
    return matrix


def fit_positions(positions: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """(1, old h·w, D) position embeddings on another grid (1, new h·w, D), by NumPy."""
    grid = positions[0].detach().double().numpy().reshape(*old, -1)
    fitted = np.einsum("yh,xw,hwd->yxd", cubic_matrix(old[0], new[0]), cubic_matrix(old[1], new[1]), grid)
    return torch.from_numpy(fitted.reshape(1, new[0] * new[1], -1)).float()
