"""The Sempart head: a coarse mask on the patch grid and a fine mask on the pixels."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate

from segtricks.backbones.fast_attention import attention

_HEADS, _HEAD_DIM, _LAYERS = 2, 64, 2


class SempartOutput(NamedTuple):
    """Logits of both masks: ``fine`` (B, 1, H, W) on the pixels and ``coarse`` (B, 1, h, w) on the patches."""

    fine: Tensor
    coarse: Tensor


class SempartHead(nn.Module):
    """Predict a coarse and a fine foreground mask from frozen patch features.

    A 1x1 convolution and two transformer layers give the coarse logits; ``ceil(log2(patch_size))`` blocks of
    bilinear upsampling and convolution, each shown the image at its own size, give the fine ones. 748,165 parameters
    at ``patch_size=8`` and 899,461 at 16. A patch size that is not a power of two takes its last step to the image's
    size directly.

    Args:
        feature_dim: channels D of the patch features.
        patch_size: side of a patch in pixels, at least 2.
        hidden_dim: channels of the transformer.
        fine: predict the fine mask from the image; without, it is the coarse one enlarged, and there are no blocks. At
            224 pixels and patches of 14 the blocks are nine tenths of the time of a training step.

    Source: Ravindran and Basu, "Sempart", ICCV 2023, section 3.
    """

    def __init__(self, feature_dim: int = 384, patch_size: int = 8, hidden_dim: int = 64, *, fine: bool = True) -> None:
        super().__init__()
        if patch_size < 2:
            raise ValueError(f"patch_size must be at least 2, got {patch_size}")
        if hidden_dim < 1:
            raise ValueError(f"hidden_dim must be at least 1, got {hidden_dim}")
        self.feature_dim, self.patch_size, self.hidden_dim = feature_dim, patch_size, hidden_dim
        self.project = nn.Conv2d(feature_dim, hidden_dim, 1)
        self.transformer = nn.Sequential(*(_TransformerLayer(hidden_dim) for _ in range(_LAYERS)))
        self.coarse = nn.Conv2d(hidden_dim, 1, 1)
        self.fine: nn.Conv2d | None = None
        if not fine:
            return
        steps = (patch_size - 1).bit_length()
        widths = [hidden_dim, 192, *[128] * (steps - 1)]
        self.blocks = nn.ModuleList(
            _ConvBlock(widths[i] + 3, widths[i + 1], convs=2 if i == steps - 1 else 1) for i in range(steps)
        )
        self.fine = nn.Conv2d(widths[-1] + 3, 1, 1)

    def forward(self, features: Tensor, image: Tensor) -> SempartOutput:
        """Return the logits of both masks.

        Args:
            features: (B, D, h, w) patch features.
            image: (B, 3, H, W) ImageNet-normalised image, H = h * patch_size and W = w * patch_size.

        Raises:
            ValueError: if the feature grid does not belong to the image.
        """
        tokens, coarse = self.encode(features)
        return SempartOutput(self.decode(tokens, image), coarse)

    def encode(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Patch features (B, D, h, w) to transformer features (B, hidden_dim, h, w) and coarse logits (B, 1, h, w)."""
        if features.ndim != 4 or features.shape[1] != self.feature_dim:
            raise ValueError(f"features must be (B, {self.feature_dim}, h, w), got {tuple(features.shape)}")
        grid = self.project(features)
        tokens = self.transformer(grid.flatten(2).transpose(1, 2))
        grid = tokens.transpose(1, 2).reshape(grid.shape)
        return grid, self.coarse(grid)

    def decode(self, grid: Tensor, image: Tensor) -> Tensor:
        """Transformer features (B, hidden_dim, h, w) and the image (B, 3, H, W) to fine logits (B, 1, H, W)."""
        (h, w), (height, width) = grid.shape[-2:], image.shape[-2:]
        if (height, width) != (h * self.patch_size, w * self.patch_size):
            raise ValueError(
                f"a {h}x{w} grid at patch size {self.patch_size} needs an image of "
                f"{h * self.patch_size}x{w * self.patch_size} pixels, got {height}x{width}"
            )
        if self.fine is None:
            return _resize(self.coarse(grid), (height, width))
        fast = fast_format(image.device)
        grid, image = grid.contiguous(memory_format=fast), image.contiguous(memory_format=fast)
        for step, block in enumerate(self.blocks, start=1):
            size = (h * 2**step, w * 2**step) if step < len(self.blocks) else (height, width)
            grid = block(_resize(grid, size), _resize(image, size))
        return _convolve_both(self.fine, grid, image)


def fast_format(device: torch.device) -> torch.memory_format:
    """The order of memory in which the blocks are fastest.

    Channels last, by a fifth with AVX-512; but with AVX2 alone a training step in that order takes 1.5 times as long.
    """
    narrow = device.type == "cpu" and torch.backends.cpu.get_cpu_capability() == "AVX2"
    return torch.contiguous_format if narrow else torch.channels_last


def _resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    return x if x.shape[-2:] == size else interpolate(x, size=size, mode="bilinear", align_corners=False)


def _convolve_both(conv: nn.Conv2d, grid: Tensor, image: Tensor) -> Tensor:
    """``conv(torch.cat([grid, image], dim=1))`` without the copies of joining them and of parting their gradients."""
    of_grid, of_image = conv.weight.split([grid.shape[1], image.shape[1]], dim=1)
    convolved = conv2d(grid, of_grid, conv.bias, padding=conv.padding)
    return convolved.add_(conv2d(image, of_image, padding=conv.padding))


class _ConvBlock(nn.Sequential):
    """3x3 convolutions with batch norm and LeakyReLU; the first sees the grid and the image, both (B, ..., H, W)."""

    def __init__(self, channels_in: int, channels_out: int, convs: int) -> None:
        layers: list[nn.Module] = []
        for i in range(convs):
            layers += [
                nn.Conv2d(channels_out if i else channels_in, channels_out, 3, padding=1),
                nn.BatchNorm2d(channels_out),
                nn.LeakyReLU(0.01, inplace=True),
            ]
        super().__init__(*layers)

    def forward(self, grid: Tensor, image: Tensor) -> Tensor:  # type: ignore[override]
        first, *others = self
        assert isinstance(first, nn.Conv2d)
        x = _convolve_both(first, grid, image)
        for layer in others:
            x = layer(x)
        return x


class _TransformerLayer(nn.Module):
    """Pre-norm self-attention and MLP on tokens (B, N, dim); no position embedding."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * _HEADS * _HEAD_DIM, bias=False)
        self.attention_out = nn.Linear(_HEADS * _HEAD_DIM, dim)
        self.mlp_norm = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, dim))

    def forward(self, tokens: Tensor) -> Tensor:
        qkv = self.qkv(self.attention_norm(tokens)).unflatten(-1, (3, _HEADS, _HEAD_DIM))
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        attended = attention(query, key, value).transpose(1, 2).flatten(2)
        tokens = tokens + self.attention_out(attended)
        return tokens + self.mlp(self.mlp_norm(tokens))
