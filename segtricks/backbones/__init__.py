"""Frozen networks that turn an image into patch features: DINO, iBOT, DINOv2, DINOv3, any timm ViT, and a stand-in."""

from typing import TYPE_CHECKING, Any

from segtricks.backbones.registry import BACKBONE_NAMES

if TYPE_CHECKING:
    from segtricks.backbones.base import Backbone
    from segtricks.backbones.factory import create_backbone

__all__ = ["BACKBONE_NAMES", "Backbone", "create_backbone"]


def __getattr__(name: str) -> Any:
    # torch takes seconds to import, and the list of names and weights does not need it.
    if name == "Backbone":
        from segtricks.backbones.base import Backbone

        return Backbone
    if name == "create_backbone":
        from segtricks.backbones.factory import create_backbone

        return create_backbone
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
