"""Patch features of one layer of a timm ``VisionTransformer`` or ``Eva``, with nothing computed beyond them."""

from contextlib import nullcontext
from typing import Any

from timm.models.eva import Eva, EvaBlock
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from segtricks.backbones.base import Backbone
from segtricks.backbones.fast_attention import FastAttention
from segtricks.backbones.positions import resize_positions, resize_positions_to, use_dino_positions
from segtricks.errors import UserError

_RESIZES = {"dino": resize_positions, "selfmask": resize_positions_to}  # timm resizes by itself


class QKVSlice(nn.Module):
    """The start of an attention block, cut off after one of query, key and value.

    Called with the block's input (B, N, D) it returns (B, N, heads * head_dim), heads concatenated, and ignores
    the rotary embedding and the mask that timm hands to a block: a key is taken **before** its rotation, so
    it depends on what a patch shows and not on where it lies.

    Args:
        block: timm's pre-norm ``Block`` or ``EvaBlock``; its weights are copied. The projection may be fused or
            not, and its bias part of it, kept aside (``q_bias``), or none.
        feature: ``key``, ``query`` or ``value``; the first two pass through the block's norm of them, if it has one.
    """

    def __init__(self, block: Block | EvaBlock, feature: str) -> None:
        super().__init__()
        attention: Any = block.attn
        letter = feature[0]
        if attention.qkv is None:
            source = getattr(attention, f"{letter}_proj")
            weight, bias = source.weight, source.bias
            query_width = attention.q_proj.out_features
        else:
            part = "qkv".index(letter)
            weight = attention.qkv.weight.chunk(3)[part]
            query_width = weight.shape[0]
            bias = attention.qkv.bias
            bias = getattr(attention, f"{letter}_bias", None) if bias is None else bias.chunk(3)[part]
        self.norm = block.norm1
        self.projection = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
        self.projection.load_state_dict({"weight": weight} if bias is None else {"weight": weight, "bias": bias})
        self.head_dim = query_width // attention.num_heads  # keys and values may have fewer heads, of the same width
        self.head_norm = nn.Identity() if feature == "value" else getattr(attention, f"{letter}_norm")

    def forward(self, tokens: Tensor, **_: Any) -> Tensor:
        """Queries, keys or values of all tokens, prefix included."""
        projected: Tensor = self.projection(self.norm(tokens))
        return self.head_norm(projected.unflatten(-1, (-1, self.head_dim))).flatten(-2)


class ViTBackbone(Backbone):
    """Features of one layer of a ViT, prefix tokens dropped, later layers cut away.

    Args:
        model: timm ``VisionTransformer`` or ``Eva`` made with ``dynamic_img_size=True`` and holding its weights;
            it is cut down in place.
        name: Name for error messages.
        tau: Default affinity threshold, a cosine or ``share:X``.
        feature: ``key``, ``query`` or ``value``: the projection inside the layer's attention, heads concatenated.
            ``token``: the layer's output through the model's final norm.
        layer: Which layer, from 0, or from the end with -1.
        pos_interp: ``dino``, ``timm`` or ``selfmask``, see :func:`segtricks.backbones.create_backbone`.

    Raises:
        UserError: Layer out of range, or blocks of a kind whose keys cannot be taken.
    """

    def __init__(
        self,
        model: VisionTransformer | Eva,
        name: str,
        tau: float | str,
        feature: str = "key",
        layer: int = -1,
        pos_interp: str = "dino",
    ) -> None:
        index = _layer_index(layer, len(model.blocks), name)
        super().__init__(name, model.patch_embed.patch_size[0], model.embed_dim, tau)
        model.prune_intermediate_layers([index], prune_norm=feature != "token")
        if feature != "token":
            block = model.blocks[index]
            if not isinstance(block, Block | EvaBlock):
                raise UserError(
                    f"cannot take the {feature} of {name!r}: its blocks are {type(block).__name__}.\n"
                    "Choose a model with plain pre-norm blocks, or feature 'token'."
                )
            slice_ = QKVSlice(block, feature)
            model.blocks[index] = slice_
            self.feature_dim = slice_.projection.out_features
        if pos_interp in _RESIZES:
            use_dino_positions(model, _RESIZES[pos_interp])
        self.model = model

    def thaw(self, blocks: int | None = None) -> None:
        """Let parameters be trained: those of the last ``blocks`` and the final norm, or all."""
        if blocks is None:
            return super().thaw()
        if not 0 < blocks <= len(self.model.blocks):
            raise UserError(
                f"{self.name!r} has {len(self.model.blocks)} blocks, and {blocks} of them were to be trained.\n"
                f"Next: pass --model.trained_blocks 0 to {len(self.model.blocks)}, or leave it out to train all."
            )
        self.model.blocks[-blocks:].requires_grad_(True)
        self.model.norm.requires_grad_(True)
        self.frozen = False

    def extract(self, images: Tensor) -> Tensor:
        """Features (B, feature_dim, h, w) in the model's dtype (autocast's under autocast)."""
        grid = [side // self.patch_size for side in images.shape[-2:]]
        with FastAttention() if images.device.type == "cpu" else nullcontext():
            tokens = self.model.forward_features(images.to(next(self.model.parameters()).dtype))
        tokens = tokens[:, self.model.num_prefix_tokens :]
        return tokens.transpose(1, 2).unflatten(2, grid).contiguous()


def _layer_index(layer: int, depth: int, name: str) -> int:
    if not -depth <= layer < depth:
        raise UserError(
            f"layer {layer} is out of range: {name!r} has {depth} layers, -{depth} to {depth - 1}; -1 is the last."
        )
    return layer % depth
