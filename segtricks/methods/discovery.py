"""Training-free methods under the same protocols as trained ones: three rows a test set, and nothing to fit."""

import logging
from typing import Any, Literal

from torch import Tensor

from segtricks.discovery import spectral_voting
from segtricks.discovery.predictor import Discoverer
from segtricks.discovery.spectral_voting import SpectralVoting
from segtricks.errors import UserError
from segtricks.methods.base import PLAIN, SegmentationModule
from segtricks.metrics import get_protocol
from segtricks.refine import GuidedFilter

_NAMED = 5  # empty masks, one by one; index.json lists all
log = logging.getLogger(__name__)


class Discovery(SegmentationModule):
    """Training-free methods: plain, with the guided filter, and with the bilateral solver.

    ``segtricks test --config tokencut`` needs no checkpoint; there is nothing to ``fit``.

    Args:
        method: tokencut, lost, deep_spectral, found or spectral_voting.
        backbone: name of the frozen network (``segtricks.backbones.create_backbone``); for spectral_voting also
            several, separated by commas.
        pretrained: load its published weights.
        backbone_checkpoint: a local file with its weights, instead of the download.
        head: a trained head for found, in place of its first step.
        tau: threshold of the affinity of tokencut, lost and deep_spectral, a cosine or share:X of each photograph's
            pairs of patches; left out, the backbone's own for the method.
        k: voters of lost.
        threshold: the same for the background of found.
        feature: key, query, value or token; left out, the backbone's own.
        layer: block whose features are taken; left out, the backbone's own.
        refiner: window and borders of the guided filter.
        bilateral_preset: cell sizes of the bilateral solver: two-tricks 24/4/4, tokencut 16/16/8.
        refine_at: refine at the model's or at the full resolution.
        protocol: how ``test`` scores; unless it says ``select``, boxes are those of the component of most pixels.
        seed: of spectral_voting; nothing else is random.
    """

    needs_checkpoint = False

    def __init__(
        self,
        method: Literal["tokencut", "lost", "deep_spectral", "found", "spectral_voting"] = "tokencut",
        backbone: str = "dino_vits16",
        pretrained: bool = True,
        backbone_checkpoint: str | None = None,
        head: str | None = None,
        tau: float | str | None = None,
        k: int = 100,
        threshold: float | str | None = None,
        feature: Literal["key", "query", "value", "token"] | None = None,
        layer: int | None = None,
        refiner: GuidedFilter = GuidedFilter(),  # noqa: B008 - frozen
        bilateral_preset: Literal["two-tricks", "tokencut"] = "two-tricks",
        refine_at: Literal["model", "full"] = "model",
        protocol: str = "fullres",
        seed: int = 0,
    ) -> None:
        super().__init__(protocol, refiner, refine_at, bilateral_preset)
        # Of LOST's and TokenCut's masks, the seed's component alone, it is the same box until they are refined.
        self.protocol = get_protocol(protocol, select="largest_area")
        self.discoverer: Discoverer | SpectralVoting
        if method == spectral_voting.NAME:
            self.discoverer = SpectralVoting(backbone, pretrained, backbone_checkpoint, feature, layer, seed)
        else:
            self.discoverer = Discoverer(
                method, backbone, pretrained, backbone_checkpoint, head, tau, k, threshold, feature, layer
            )
        self.name, self.backbone = method, self.discoverer.backbone
        self.predicted_row = PLAIN
        self._empty = 0

    def soft_masks(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) to masks (B, 1, H, W), of 0 and 1 unless there is a head."""
        return self.discoverer.enlarge(self.discoverer(images), images.shape[-2:])

    def test_step(self, batch: dict[str, Any], batch_idx: int, dataloader_idx: int = 0) -> dict[str, list[Tensor]]:
        """Score a batch, and name the images in which nothing was found."""
        outputs = super().test_step(batch, batch_idx, dataloader_idx)
        for mask, path in zip(outputs[PLAIN], batch["path"], strict=True):
            if not bool((mask > 0.5).any()):
                log.warning("%s: empty mask (%s)", path, self.discoverer.why_empty)
        return outputs

    def predict_step(self, batch: dict[str, Any], batch_idx: int, dataloader_idx: int = 0) -> list[Tensor]:
        """Return one mask (1, H, W) per photograph, at its own size; name the first in which nothing was found."""
        patches = self.predicted_row == PLAIN and not self.discoverer.soft
        self.predict_interpolation = "nearest-exact" if patches else "bilinear"
        masks = super().predict_step(batch, batch_idx, dataloader_idx)
        for mask, path in zip(masks, batch["path"], strict=True):
            if self._empty < _NAMED and not bool((mask > 0.5).any()):
                self._empty += 1
                log.warning("%s: empty mask (%s)", path, self.discoverer.why_empty)
        return masks

    @property
    def description(self) -> str:
        """The method and its backbone."""
        return f"{self.name} on {getattr(self.backbone, 'name', type(self.backbone).__name__)}"

    def why_one_sided(self) -> str:
        """Return why many masks of nothing or of everything are likely, from those seen so far."""
        return self.discoverer.why_one_sided()

    def configure_optimizers(self) -> Any:
        """Refuse to train (``UserError``)."""
        raise UserError(
            f"{self.name} needs no training.\nNext: segtricks test --config tokencut, or segtricks discover."
        )
