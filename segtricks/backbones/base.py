"""What every backbone has in common: frozen, in eval mode, image in, patch features out."""

from typing import Self

import torch
from torch import Tensor, nn

from segtricks.errors import UserError


class Backbone(nn.Module):
    """A frozen network from images to patch features.

    Call it on a float (B, 3, H, W), ImageNet-normalised, H and W multiples of ``patch_size``; it returns
    (B, feature_dim, H / patch_size, W / patch_size), without gradient unless it was thawed. It stays
    in eval mode, whatever ``train()`` is called on the module that holds it.

    A new backbone is a subclass that implements :meth:`extract`.

    Args:
        name: What the user typed to get it; error messages repeat it.
        patch_size: Side of a square patch in pixels.
        feature_dim: Channels of the features.
        tau: Where normalized cut treats two patches as alike: above a cosine in [-1, 1], or ``share:X``, the cosine
            above which a share X of all pairs lies.

    Attributes:
        weights: Where the weights came from, for instance ``file dino_deitsmall8_pretrain.pth``; ``random`` where they
            were not loaded, empty where there are none or where a backbone of your own does not say.
    """

    weights: str = ""
    frozen = True
    """Whether features come without gradient."""

    def __init__(self, name: str, patch_size: int, feature_dim: int, tau: float | str) -> None:
        super().__init__()
        self.name = name
        self.patch_size = patch_size
        self.feature_dim = feature_dim
        self.tau = tau

    def extract(self, images: Tensor) -> Tensor:
        """Features (B, feature_dim, h, w) of images that :meth:`forward` has checked; without gradient if frozen."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, feature_dim, H / patch_size, W / patch_size) of normalised float images (B, 3, H, W).

        Raises:
            UserError: Not float (B, 3, H, W), a side that is not a positive multiple of the patch, or
                :meth:`extract` gives another shape than ``feature_dim`` and ``patch_size`` say.
        """
        self._check(images)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            features = self.extract(images)
        grid = (images.shape[-2] // self.patch_size, images.shape[-1] // self.patch_size)
        expected = (images.shape[0], self.feature_dim, *grid)
        if tuple(features.shape) != expected:
            raise UserError(
                f"backbone {self.name!r} gave features {tuple(features.shape)}, and by its feature_dim and patch_size "
                f"they are {expected}.\nNext: correct extract(), feature_dim or patch_size of {type(self).__name__}."
            )
        return features

    def thaw(self, blocks: int | None = None) -> None:
        """Let parameters be trained: those of the last ``blocks``, or all.

        Raises:
            UserError: It does not have so many blocks.
        """
        if blocks is not None:
            raise UserError(
                f"{self.name!r} has no blocks of which some could be trained.\n"
                "Next: leave out --model.trained_blocks, or pass --model.freeze frozen."
            )
        self.requires_grad_(True)
        self.frozen = False

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode, so that a training loop's ``train()`` changes nothing here."""
        return super().train(False)

    def extra_repr(self) -> str:
        """Name and figures, for ``print(model)``."""
        return f"{self.name!r}, patch_size={self.patch_size}, feature_dim={self.feature_dim}, tau={self.tau}"

    def _check(self, images: Tensor) -> None:
        if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
            raise UserError(
                f"backbone {self.name!r} got {images.dtype} of shape {tuple(images.shape)}.\n"
                "It takes ImageNet-normalised float images (B, 3, H, W)."
            )
        sides = {"height": images.shape[-2], "width": images.shape[-1]}
        if all(side > 0 and side % self.patch_size == 0 for side in sides.values()):
            return
        legal = (f"{label} {_nearest(side, self.patch_size)}" for label, side in sides.items())
        raise UserError(
            f"backbone {self.name!r} cannot cut {sides['height']}x{sides['width']} pixels (height x width) "
            f"into patches of {self.patch_size}.\nResize or crop the images to {', '.join(legal)}."
        )


def _nearest(side: int, patch: int) -> str:
    below = side // patch * patch
    if below == side and side > 0:
        return str(side)
    return f"{below} or {below + patch}" if below else str(patch)
