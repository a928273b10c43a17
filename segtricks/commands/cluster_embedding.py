"""What the masks of ``segtricks cluster`` are compared by: a backbone's features, or the embedding of a run."""

import hashlib
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from segtricks.backbones.factory import create_backbone
from segtricks.backbones.registry import DESCRIPTOR_PATCH_SIZES
from segtricks.errors import UserError
from segtricks.runs import checkpoint_of
from segtricks.training.hub_runs import find_run

_SIZE = 320


@dataclass(frozen=True)
class Embedding:
    """What vectors are made of.

    Args:
        features: from normalised images (1, 3, H, W) to (1, D, h, w).
        size: short side of the images in pixels.
        multiple: of pixels, that both sides of an image are.
        about: what the features depend on, by name.
    """

    features: Callable[[Tensor], Tensor]
    size: int
    multiple: int
    about: dict[str, Any]


def make_embedding(options: Namespace, device: torch.device) -> Embedding:
    """Return the embedding of parsed options.

    Raises:
        UserError: the backbone or run cannot be had, or the run's method has no embedding.
    """
    if options.run is not None:
        return _of_run(options, device)
    feature = options.feature or ("key" if options.backbone in DESCRIPTOR_PATCH_SIZES else "token")
    backbone = create_backbone(
        options.backbone, checkpoint=options.backbone_checkpoint, feature=feature, layer=options.layer
    ).to(device)
    about = {"backbone": options.backbone, "feature": feature, "layer": options.layer, "weights": backbone.weights}
    return Embedding(backbone, options.size or _SIZE, backbone.patch_size, about)


def _of_run(options: Namespace, device: torch.device) -> Embedding:
    from segtricks.commands.run_loading import load_run  # Lightning takes seconds to import

    module = load_run(options.run).to(device)
    multiple = module.input_multiple or int(getattr(getattr(module, "backbone", None), "patch_size", 1))

    def embed(images: Tensor) -> Tensor:
        embedding: Tensor = module(images).embedding
        return embedding

    try:
        with torch.no_grad():
            embed(torch.zeros(1, 3, 4 * multiple, 4 * multiple, device=device))
    except (AttributeError, NotImplementedError) as error:
        raise UserError(
            f"The method of {options.run} has no embedding of pixels.\n"
            "Next: pass a run of MaskContrast, or leave out --run for the features of --backbone."
        ) from error
    with checkpoint_of(find_run(options.run)).open("rb") as file:
        hashed = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    return Embedding(embed, options.size or module.input_size, multiple, {"checkpoint": hashed})
