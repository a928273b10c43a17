"""MaskCut: several objects of each photograph, without training."""

from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from segtricks.data.sample import Instances
from segtricks.data.transforms import denormalize
from segtricks.discovery import mask_contrast
from segtricks.discovery.predictor import Discoverer
from segtricks.errors import UserError
from segtricks.methods.base import PLAIN, Refine, SegmentationModule
from segtricks.parallel import in_threads
from segtricks.pseudo_labels import select_masks
from segtricks.pseudo_labels.instances import InstanceWriter
from segtricks.pseudo_labels.selection import resize_mask
from segtricks.refine import BILATERAL_PRESETS, DenseCRF, GuidedFilter

_PATCHES = 8192
"""Of an image, at most: the graph of more takes gigabytes. A panorama has them at any size of its short side."""


class MaskCut(SegmentationModule):
    """Cut each photograph several times, refine each of its masks, and keep those that refinement changes little.

    ``predict`` gives :class:`segtricks.data.sample.Instances`. The score of a mask is its contrast before it was
    refined, see :func:`segtricks.discovery.mask_contrast`. ``test`` scores the union of the masks before they are
    refined, and its refined rows that union refined.

    Args:
        backbone: name of the frozen network (``segtricks.backbones.create_backbone``).
        pretrained: load its published weights.
        backbone_checkpoint: a local file with its weights, instead of the download.
        tau: threshold of the affinity, a cosine or share:X of each photograph's pairs of patches; left out, the
            backbone's own for the method.
        rounds: masks of a photograph, at most.
        skip_refused: look behind objects that are refused.
        feature: key, query, value or token; left out, the backbone's own.
        layer: block whose features are taken; left out, the backbone's own.
        refine: dense_crf, bilateral_solver, guided_filter or none.
        min_iou: a mask is dropped whose IoU with what it was before it was refined is below.
        refiner: window and borders of the guided filter.
        bilateral_preset: cell sizes of the bilateral solver: two-tricks 24/4/4, tokencut 16/16/8.
        refine_at: refine at the model's or at the full resolution.
        protocol: how ``test`` scores.
        seed: unused, nothing in it is random.

    Source: Wang, Girdhar, Yu and Misra, "Cut and Learn for Unsupervised Object Detection and Instance Segmentation",
    CVPR 2023, section 3.2. There photographs are squeezed to squares of 480 pixels; here they keep their shape.
    """

    needs_checkpoint = False
    writer_class: ClassVar = InstanceWriter

    def __init__(
        self,
        backbone: str = "dino_vits16",
        pretrained: bool = True,
        backbone_checkpoint: str | None = None,
        tau: float | str | None = None,
        rounds: int = 3,
        skip_refused: bool = False,
        feature: Literal["key", "query", "value", "token"] | None = None,
        layer: int | None = None,
        refine: Literal["dense_crf", "bilateral_solver", "guided_filter", "none"] = "dense_crf",
        min_iou: float = 0.5,
        refiner: GuidedFilter = GuidedFilter(),  # noqa: B008 - frozen
        bilateral_preset: Literal["two-tricks", "tokencut"] = "two-tricks",
        refine_at: Literal["model", "full"] = "model",
        protocol: str = "fullres",
        seed: int = 0,
    ) -> None:
        super().__init__(protocol, refiner, refine_at, bilateral_preset)
        refiners: dict[str, Refine | None] = {
            "dense_crf": DenseCRF(),
            "bilateral_solver": BILATERAL_PRESETS[bilateral_preset],
            "guided_filter": refiner,
            "none": None,
        }
        self.instance_refiner, self.min_iou, self.rounds = refiners[refine], min_iou, rounds
        self.discoverer = Discoverer(
            "maskcut",
            backbone,
            pretrained,
            backbone_checkpoint,
            tau=tau,
            feature=feature,
            layer=layer,
            rounds=rounds,
            skip_refused=skip_refused,
        )
        self.backbone = self.discoverer.backbone
        self.predicted_row = PLAIN

    def soft_masks(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) to the union of their masks (B, 1, H, W), of 0 and 1."""
        union = self._cut(images)[0].amax(dim=1, keepdim=True)
        return self.discoverer.enlarge(union, images.shape[-2:])

    def predict_step(self, batch: dict[str, Any], batch_idx: int, dataloader_idx: int = 0) -> list[Instances]:  # type: ignore[override]
        """Return the instances of each photograph at its own size, on the CPU; the label of all is 1."""
        if not batch["image"]:
            return []
        images = torch.stack(batch["image"])
        cuts, features = self._cut(images)
        scores = mask_contrast(features, cuts)
        jobs = list(zip(cuts, scores, images, batch["photo"], strict=True))
        workers = torch.get_num_threads() if images.device.type == "cpu" else 1
        return list(in_threads(lambda job: self._instances(*job), jobs, workers, None))

    def _cut(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Masks (B, rounds, h, w) and features of normalised images (B, 3, H, W); large images are shrunk first."""
        patch = self.discoverer.patch_size
        rows, columns = (side // patch for side in images.shape[-2:])
        shrink = (_PATCHES / (rows * columns)) ** 0.5
        if shrink < 1:
            size = [max(1, int(side * shrink)) * patch for side in (rows, columns)]
            images = interpolate(images, size, mode="bilinear", antialias=True)
        return self.discoverer.masks_and_features(images)

    @torch.no_grad()
    def _instances(self, cuts: Tensor, scores: Tensor, image: Tensor, photo: Tensor) -> Instances:
        """Masks (n, h, w) on patches and their scores, the image (3, H, W) that the network saw, and the photograph."""
        size = (photo.shape[-2], photo.shape[-1])
        at_full = self.refine_at == "full" or self.instance_refiner is None
        picture = photo.to(image.device).float() / 255 if at_full else denormalize(image)
        found = cuts.flatten(1).any(dim=1)
        cuts, scores = cuts[found], scores[found]
        before = interpolate(cuts[:, None], picture.shape[-2:], mode="nearest-exact")[:, 0] > 0.5
        after = select_masks(before, self._refine_masks(before, picture), min_iou=self.min_iou)
        masks = np.zeros((len(after), *size), bool)
        for mask, array in zip(after.cpu().numpy(), masks, strict=True):
            array[:] = mask if mask.shape == size else resize_mask(mask, size)
        kept = torch.from_numpy(masks.any(axis=(1, 2)))
        labels = torch.ones(int(kept.sum()), dtype=torch.int64)
        return Instances(torch.from_numpy(masks)[kept], labels, scores.cpu()[kept])

    def _refine_masks(self, masks: Tensor, picture: Tensor) -> Tensor:
        if self.instance_refiner is None or not len(masks):
            return masks
        # The field's lattices are those of the image, whichever mask it is.
        shared = isinstance(self.instance_refiner, DenseCRF)
        pictures = picture[None].expand(1 if shared else len(masks), -1, -1, -1)
        return self.instance_refiner(masks[:, None].float(), pictures)[:, 0] > 0.5

    def _mask_of(self, photo: Tensor) -> NDArray[np.float32]:
        masks: NDArray[np.float32] = self.prediction_of(photo).masks.float().numpy()
        return masks

    @property
    def description(self) -> str:
        """The method and its backbone."""
        return f"maskcut on {getattr(self.backbone, 'name', type(self.backbone).__name__)}, N = {self.rounds}"

    def why_one_sided(self) -> str:
        """Return why many photographs are without a mask, from those seen so far."""
        return self.discoverer.why_one_sided()

    def configure_optimizers(self) -> Any:
        """Refuse to train (``UserError``)."""
        raise UserError("maskcut needs no training.\nNext: segtricks discover --method maskcut.")
