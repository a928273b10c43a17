"""Read the networks that the authors of SelfMask released."""

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor, nn

from segtricks.backbones.padding import pad_to_patches
from segtricks.errors import UserError
from segtricks.heads.released_file import read_released
from segtricks.heads.selfmask import SelfMaskHead, SelfMaskOutput

if TYPE_CHECKING:
    from segtricks.backbones.vit import ViTBackbone

_HEAD_WIDTH = 64  # channels of an attention head in all published ViTs
_UPSAMPLE = 2

# Module paths in the authors' checkpoints, and ours.
_RENAMED = [
    ("encoder.", "backbone."),
    ("decoder.", "head."),
    ("query_embed", "head.queries"),
    ("ffn.layers.0.", "head.objectness.0."),
    ("ffn.layers.1.", "head.objectness.2."),
    ("ffn.layers.2.", "head.objectness.4."),
]


class OriginalSelfMask(nn.Module):
    """A ViT and a head: normalised images (B, 3, H, W) of any size to a :class:`SelfMaskOutput`.

    Masks lie on the images padded right and below to whole patches; their scale is ``scale`` pixels.
    """

    def __init__(self, backbone: "ViTBackbone", head: SelfMaskHead) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head
        self.scale = backbone.patch_size / head.upsample

    def forward(self, images: Tensor) -> SelfMaskOutput:
        """Masks and objectness of every layer, as logits."""
        output: SelfMaskOutput = self.head(self.backbone(pad_to_patches(images, self.backbone.patch_size)))
        return output


def load_original_selfmask(path: str | Path, num_heads: int | None = None) -> OriginalSelfMask:
    """Return the network of a released file ``selfmask_nq{10,20}.pt``, or of a trainer's own, in eval mode.

    The file holds a state dict, bare or under ``model``. All sizes are read from its tensors but ``num_heads``, which
    is of encoder and decoder; None is one head for 64 channels. Nothing in the file is executed.

    Raises:
        UserError: if the file is missing, is not such a checkpoint, holds pickled code, or a key does not fit.
    """
    state = read_released(path, "SelfMask", "selfmask_nq20.pt")
    try:
        network = _blank(state, num_heads)
        network.load_state_dict({_our_name(key): value for key, value in state.items()}, strict=True)
    except (KeyError, IndexError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:400]
        raise UserError(f"{path} does not fit a SelfMask network ({type(error).__name__}): {reason}") from error
    from segtricks.backbones.positions import resize_positions_to, use_dino_positions

    use_dino_positions(network.backbone.model, resize_positions_to)
    return network.requires_grad_(False).eval()


def _our_name(key: str) -> str:
    for theirs, ours in _RENAMED:
        if key.startswith(theirs):
            key = ours + key.removeprefix(theirs)
            break
    return re.sub("^backbone", "backbone.model", key)


def _blank(state: dict[str, Tensor], num_heads: int | None) -> OriginalSelfMask:
    from timm.models.vision_transformer import VisionTransformer  # takes seconds to import

    from segtricks.backbones.vit import ViTBackbone

    width, _, patch_size, _ = state["encoder.patch_embed.proj.weight"].shape
    num_heads = num_heads or max(1, width // _HEAD_WIDTH)
    encoder = VisionTransformer(
        img_size=patch_size * math.isqrt(state["encoder.pos_embed"].shape[1] - 1),
        patch_size=patch_size,
        embed_dim=width,
        depth=_count(state, r"encoder\.blocks\.(\d+)\."),
        num_heads=num_heads,
        num_classes=0,
        dynamic_img_size=True,
    )
    # Its positions are exchanged after loading, since the file has them under the ViT's own names.
    backbone = ViTBackbone(encoder, "the original SelfMask", 0.0, feature="token", pos_interp="timm")
    layers = _count(state, r"decoder\.layers\.(\d+)\.")
    return OriginalSelfMask(backbone, SelfMaskHead(width, len(state["query_embed"]), layers, num_heads, _UPSAMPLE))


def _count(state: dict[str, Tensor], pattern: str) -> int:
    return len({match[1] for key in state if (match := re.match(pattern, key))})
