"""Images of any size for networks that cut them into patches."""

from torch import Tensor
from torch.nn.functional import pad


def pad_to_patches(images: Tensor, patch_size: int) -> Tensor:
    """Normalised images (B, 3, H, W) with zeros, the mean colour, right and below up to multiples of the patch."""
    height, width = images.shape[-2:]
    return pad(images, (0, -width % patch_size, 0, -height % patch_size))
