"""Frozen networks that turn an image into patch features: DINO, iBOT, DINOv2, DINOv3, any timm ViT, and a stand-in."""

from segtricks.backbones.base import Backbone
from segtricks.backbones.factory import create_backbone
from segtricks.backbones.registry import BACKBONE_NAMES

__all__ = ["BACKBONE_NAMES", "Backbone", "create_backbone"]
