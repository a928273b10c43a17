"""The training step written plainly, as the first published code runs it: the yardstick of bench.py and curve.py.

float32 throughout; images and crops pass the backbone one after the other, through all blocks in full, with attention
by plain products; total variation by convolutions with eight difference kernels; the whole affinity, once for each
term that needs it. Its crops, losses and weights are those of the paper, so that the loss is the same.
"""

import timm
import torch
from torch import Tensor
from torch.nn.functional import conv2d, interpolate, mse_loss, normalize, pad

from segtricks.backbones.vit import ViTBackbone
from segtricks.data.transforms import denormalize
from segtricks.heads import SempartHead
from segtricks.methods import Sempart
from segtricks.methods.crops import crop_and_enlarge, random_corners

MODELS = {"dino_vits8": "vit_small_patch8_224", "dino_vits16": "vit_small_patch16_224"}


def sempart_and_reference(backbone: str, seed: int = 0, compile: bool = False) -> tuple[Sempart, "PlainSempart"]:
    """A method and its plain twin, of the same random weights; a backbone that is no ViT here serves both."""
    torch.manual_seed(seed)
    module = Sempart(backbone, pretrained=False, compile=compile)
    plain: torch.nn.Module = module.backbone
    if backbone in MODELS:
        whole, cut = (timm.create_model(MODELS[backbone], num_classes=0, dynamic_img_size=True) for _ in range(2))
        cut.load_state_dict(whole.state_dict())
        module.backbone.load_state_dict(ViTBackbone(cut, backbone, 0.4).state_dict())
        plain = PlainKeys(whole, backbone)
    twin = PlainSempart(plain, module.backbone.feature_dim, module.backbone.patch_size)
    twin.head.load_state_dict(module.head.state_dict())
    return module.train(), twin.train()


class PlainKeys(torch.nn.Module):
    """Keys of the last block, as a hook sees them while the whole network runs."""

    def __init__(self, model: torch.nn.Module, name: str) -> None:
        super().__init__()
        self.tokens = ViTBackbone(model, name, 0.4, feature="token").requires_grad_(False).eval()
        self.seen: list[Tensor] = []
        for block in self.tokens.model.blocks:
            block.attn = PlainAttention(block.attn)
        self.tokens.model.blocks[-1].attn.of.qkv.register_forward_hook(lambda m, i, out: self.seen.append(out))

    def forward(self, images: Tensor) -> Tensor:
        grid = self.tokens(images)
        keys = self.seen.pop().chunk(3, dim=-1)[1][:, -grid.shape[2] * grid.shape[3] :]
        return keys.transpose(1, 2).reshape(grid.shape)


class PlainAttention(torch.nn.Module):
    """A timm attention of these weights, computed as in DINO's own code."""

    def __init__(self, of: torch.nn.Module) -> None:
        super().__init__()
        self.of = of

    def forward(self, tokens: Tensor, **_: object) -> Tensor:
        query, key, value = self.of.qkv(tokens).unflatten(-1, (3, self.of.num_heads, -1)).permute(2, 0, 3, 1, 4)
        weights = (query @ key.transpose(-2, -1) * self.of.scale).softmax(dim=-1)
        return self.of.proj((weights @ value).transpose(1, 2).flatten(2))


class PlainSempart(torch.nn.Module):
    def __init__(self, features: torch.nn.Module, feature_dim: int, patch_size: int) -> None:
        super().__init__()
        self.features, self.head = features, SempartHead(feature_dim, patch_size)
        for layer in self.head.modules():
            if isinstance(layer, torch.nn.LeakyReLU):
                layer.inplace = False

    def masks(self, features: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        head = self.head
        grid = head.project(features)
        tokens = grid.flatten(2).transpose(1, 2)
        for layer in head.transformer:
            query, key, value = layer.qkv(layer.attention_norm(tokens)).unflatten(-1, (3, 2, 64)).unbind(2)
            weights = torch.einsum("bihd,bjhd->bhij", query, key).mul(64**-0.5).softmax(dim=-1)
            tokens = tokens + layer.attention_out(torch.einsum("bhij,bjhd->bihd", weights, value).flatten(2))
            tokens = tokens + layer.mlp(layer.mlp_norm(tokens))
        grid = tokens.transpose(1, 2).reshape(grid.shape)
        coarse = head.coarse(grid)
        for block in head.blocks:
            grid = interpolate(grid, scale_factor=2, mode="bilinear", align_corners=False)
            small = interpolate(image, size=grid.shape[-2:], mode="bilinear", align_corners=False)
            grid = torch.cat([grid, small], dim=1)
            for layer in block.children():
                grid = layer(grid)
        return head.fine(torch.cat([grid, image], dim=1)).sigmoid(), coarse.sigmoid()

    def loss(self, images: Tensor, generator: torch.Generator) -> Tensor:
        height, width = images.shape[-2:]
        crop = (height // 2, width // 2)
        corners = random_corners(len(images), (height, width), crop, generator)
        crops = crop_and_enlarge(images, corners, crop)
        features = self.features(images)
        fine, coarse = self.masks(features, images)
        crop_features = self.features(crops)
        crop_fine, crop_coarse = self.masks(crop_features, crops)
        teacher = plain_guided_filter(crop_fine.detach(), denormalize(crops).mean(1, keepdim=True)).clamp(
            1e-6, 1 - 1e-6
        )
        colour = torch.exp(-differences(images).square().sum(1))
        cosine = 1 - differences(normalize(features, dim=1)).square().sum(1) / 2
        reduced = interpolate(fine, size=coarse.shape[-2:], mode="bilinear", align_corners=False)
        return (
            normalized_cut(features, coarse)
            + mse_loss(coarse, reduced)
            + (colour * differences(fine)[:, 0].square()).mean()
            + (torch.where(cosine > 0.4, 1.0, 1e-6) * differences(coarse)[:, 0].square()).mean()
            + 0.01 * mse_loss(crop_and_enlarge(fine, corners, crop), teacher)
            + 0.01 * normalized_cut(crop_features, crop_coarse)
        )


def differences(x: Tensor) -> Tensor:
    """(B, C, H, W) to its differences with the eight neighbours, (B, C, 8, H, W), as a grouped convolution."""
    kernels = torch.zeros(9, 1, 3, 3, device=x.device)
    kernels.view(9, 9).fill_diagonal_(1)
    kernels[:, :, 1, 1] -= 1
    kernels = kernels[[0, 1, 2, 3, 5, 6, 7, 8]].repeat(x.shape[1], 1, 1, 1)
    return conv2d(pad(x, (1, 1, 1, 1), mode="reflect"), kernels, groups=x.shape[1]).unflatten(1, (x.shape[1], 8))


def normalized_cut(features: Tensor, mask: Tensor) -> Tensor:
    unit = normalize(features.flatten(2), dim=1)
    weights = torch.where(unit.transpose(1, 2) @ unit > 0.4, 1.0, 1e-6)
    inside = mask.flatten(1)[:, :, None].clamp(1e-6, 1 - 1e-6)
    cut = inside.transpose(1, 2) @ weights @ (1 - inside)
    ones = torch.ones_like(inside)
    volumes = [(side.transpose(1, 2) @ weights @ ones).clamp(min=1e-6) for side in (inside, 1 - inside)]
    return (cut / volumes[0] + cut / volumes[1]).mean()


def plain_guided_filter(mask: Tensor, gray: Tensor, radius: int = 9, eps: float = 1e-3) -> Tensor:
    def mean(x: Tensor) -> Tensor:
        padded = pad(x, (radius, radius, radius, radius))
        kernel = torch.ones(1, 1, 2 * radius + 1, 1, device=x.device)
        inside = conv2d(conv2d(pad(torch.ones_like(x), (radius,) * 4), kernel), kernel.transpose(2, 3))
        return conv2d(conv2d(padded, kernel), kernel.transpose(2, 3)) / inside

    mean_i, mean_m = mean(gray), mean(mask)
    slope = (mean(gray * mask) - mean_i * mean_m) / (mean(gray * gray) - mean_i * mean_i + eps)
    offset = mean_m - slope * mean_i
    return mean(slope) * gray + mean(offset)
