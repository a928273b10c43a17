"""Frozen networks that turn an image into patch features: DINO, iBOT, DINOv2, DINOv3, any timm ViT, and a stand-in.

What is here stands in ``__init__.pyi``. It is imported on use: torch takes seconds, and a list of names does without.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
