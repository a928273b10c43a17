"""FOUND's head: one 1x1 convolution from patch features to the foreground."""

from pathlib import Path

import torch
from torch import Tensor, nn

from segtricks.errors import UserError


class FoundHead(nn.Module):
    """A linear map from each patch's feature to one logit of the foreground: ``feature_dim`` + 1 weights.

    Args:
        feature_dim: channels D of the patch features; the published heads take the 384 of a ViT-S/8's keys.

    Source: Siméoni et al., "Unsupervised Object Localization: Observing the Background to Discover Objects", CVPR 2023,
    section 3.2.
    """

    def __init__(self, feature_dim: int = 384) -> None:
        super().__init__()
        self.feature_dim = feature_dim
        self.decoder = nn.Conv2d(feature_dim, 1, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, D, h, w), not normalised, to foreground logits (B, 1, h, w).

        Raises:
            UserError: if the features have another number of channels.
        """
        if features.ndim != 4 or features.shape[1] != self.feature_dim:
            raise UserError(
                f"The FOUND head takes features (B, {self.feature_dim}, h, w), got {tuple(features.shape)}.\n"
                f"Take a backbone with {self.feature_dim} channels, for the published heads dino_vits8."
            )
        logits: Tensor = self.decoder(features)
        return logits


def load_found_head(path: str | Path) -> FoundHead:
    """Return a :class:`FoundHead` in eval mode from a decoder file of FOUND or PEEKABOO.

    The file holds ``{"decoder": {"weight": (1, D, 1, 1), "bias": (1,)}}`` and nothing else. Nothing in it is executed.

    Raises:
        UserError: if the file is missing, is not such a file, holds pickled code or values that are not finite.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"No head at {path}: the file does not exist.") from None
    except Exception as error:
        raise UserError(
            f"{path} is not a readable file of tensors ({type(error).__name__}); "
            "expected a decoder file of FOUND or PEEKABOO."
        ) from error
    state = content.get("decoder") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        found = sorted(map(str, content))[:5] if isinstance(content, dict) else type(content).__name__
        raise UserError(f"{path} holds no 'decoder' with tensors; it holds {found}.")
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    weight = shapes.get("weight", ())
    if (
        set(shapes) != {"weight", "bias"}
        or len(weight) != 4
        or weight != (1, weight[1], 1, 1)
        or shapes["bias"] != (1,)
    ):
        raise UserError(f"{path} holds {shapes}; expected weight (1, D, 1, 1) and bias (1,).")
    if not all(bool(torch.isfinite(value).all()) for value in state.values()):
        raise UserError(f"{path} holds values that are not finite.")
    head = FoundHead(weight[1])
    head.decoder.load_state_dict(state, strict=True)
    return head.eval()
