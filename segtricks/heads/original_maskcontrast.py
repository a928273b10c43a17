"""Read the networks that the authors of MaskContrast released."""

from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor, nn

from segtricks.errors import UserError
from segtricks.heads.maskcontrast import MaskContrastHead, MaskContrastOutput
from segtricks.heads.released_file import read_released

if TYPE_CHECKING:
    from segtricks.backbones.resnet import ResNetBackbone

_QUERY = "model_q."

# Module paths in the authors' checkpoints, and ours.
_RENAMED = {
    "backbone.": "backbone.model.",
    "decoder.": "head.decoder.",
    "head.": "head.embedding.",
    "classification_head.": "head.saliency.",
}


class OriginalMaskContrast(nn.Module):
    """A ResNet-50 and a head: normalised images (B, 3, H, W) of any size to embedding and saliency at (H, W)."""

    def __init__(self, backbone: "ResNetBackbone", head: MaskContrastHead) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, images: Tensor) -> MaskContrastOutput:
        """Embedding (B, 32, H, W), not normalised, and saliency (B, 1, H, W), logits."""
        output: MaskContrastOutput = self.head(self.backbone.extract(images))
        return output.enlarged(*images.shape[-2:])


def load_original_maskcontrast(path: str | Path) -> OriginalMaskContrast:
    """Return the network of a released file, or of a trainer's own, in eval mode.

    The file holds a state dict, bare or under ``model``: of a network, or of a training, whose query network is taken.
    Nothing in the file is executed.

    Raises:
        UserError: if the file is missing, is not such a checkpoint, holds pickled code, or a key does not fit.
    """
    from segtricks.backbones import create_backbone

    state = {
        _our_name(key): value
        for key, value in _query_network(read_released(path, "MaskContrast", "model of a pretraining")).items()
    }
    weight = state.get("head.embedding.weight")
    if weight is None:
        raise UserError(f"{path} does not hold a MaskContrast network: it lacks 'head.weight'.")
    backbone = create_backbone("moco_resnet50", pretrained=False)
    network = OriginalMaskContrast(backbone, MaskContrastHead(backbone.feature_dim, len(weight)))  # type: ignore[arg-type]
    try:
        network.load_state_dict(state, strict=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:400]
        raise UserError(f"{path} does not fit a MaskContrast network: {reason}") from error
    return network.requires_grad_(False).eval()


def _query_network(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """What a training calls ``model_q``, or all of a network."""
    state = {key.removeprefix("module."): value for key, value in state.items()}
    query = {key.removeprefix(_QUERY): value for key, value in state.items() if key.startswith(_QUERY)}
    return query or state


def _our_name(key: str) -> str:
    for theirs, ours in _RENAMED.items():
        if key.startswith(theirs):
            return ours + key.removeprefix(theirs)
    return key
