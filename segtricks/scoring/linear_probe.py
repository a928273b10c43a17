"""A linear probe: one 1x1 convolution on frozen features, trained with labels to measure what they hold."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate
from torch.utils.data import Dataset, RandomSampler
from torchvision.transforms.v2.functional import InterpolationMode, affine
from tqdm import tqdm

from segtricks.data.images import UnreadableImage
from segtricks.data.loading import Skipped, collate_lists, make_loader
from segtricks.data.problems import warn_of_left_out
from segtricks.data.sample import SegmentationDataset
from segtricks.data.transforms import to_input
from segtricks.metrics.semantic import SemanticIoU
from segtricks.refine import dense_crf_labels

Features = Callable[[Tensor], Tensor]
"""From normalised images (B, 3, size, size) to features (B, D, h, w), frozen and in eval mode."""

_VOID = 255


@dataclass(frozen=True)
class ProbeRecipe:
    """How a linear probe is trained.

    Args:
        size: side in pixels to which photographs are resized, their proportions lost.
        epochs: of the training; the last one counts. The published figure is of the epoch that is best on the test set.
        decay_after: from the epoch after this one on, counted from 0, the learning rate is a tenth.
        batch_size: photographs.
        lr: learning rate of SGD with momentum 0.9 and weight decay 1e-4.
        angle: largest rotation, in degrees.
        scales: range of the scaling.
        seed: of the weights, the order and the views.
        crf: also score the maps refined by a dense CRF, which takes some seconds a photograph.

    Source: Van Gansbeke et al., ICCV 2021; their code.
    """

    size: int = 512
    epochs: int = 60
    decay_after: int = 25
    batch_size: int = 16
    lr: float = 0.1
    angle: float = 5.0
    scales: tuple[float, float] = (0.75, 1.25)
    seed: int = 0
    crf: bool = False


def train_linear_probe(
    features: Features,
    feature_dim: int,
    dataset: SegmentationDataset,
    num_classes: int = 21,
    recipe: ProbeRecipe | None = None,
    device: torch.device | str = "cpu",
    workers: int = 0,
    left_out: dict[str, str] | None = None,
) -> nn.Conv2d:
    """Train a probe on a dataset with label maps; broken files are left out with a warning.

    Pixels of 255 do not count, and what rotation and scaling bring in from outside is black and labelled 0. Paths and
    reasons of broken files are added to ``left_out``.
    """
    recipe = recipe or ProbeRecipe()
    generator = torch.Generator().manual_seed(recipe.seed)
    probe = nn.Conv2d(feature_dim, num_classes, 1).to(device)
    probe.weight.data.copy_(0.01 * torch.randn(probe.weight.shape, generator=generator))
    nn.init.zeros_(probe.bias)  # type: ignore[arg-type]
    optimizer = torch.optim.SGD(probe.parameters(), recipe.lr, momentum=0.9, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [recipe.decay_after + 1])
    items = _ProbeItems(dataset, recipe.size, recipe)
    skipped = {} if left_out is None else left_out
    for epoch in tqdm(range(recipe.epochs), desc="linear probe", unit=" epochs", disable=None, leave=False):
        items.epoch = epoch
        order = RandomSampler(items, generator=generator)
        for batch in make_loader(items, _collate, workers, batch_size=recipe.batch_size, sampler=order):
            skipped.update(batch["skipped"])
            if not batch["image"]:
                continue
            logits = _logits(probe, features, batch["image"], device)
            labels = torch.stack(batch["labels"]).to(device)
            loss = cross_entropy(logits, labels, ignore_index=_VOID)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
    warn_of_left_out(dataset.name, skipped.items())
    return probe.requires_grad_(False)


@torch.no_grad()
def score_linear_probe(
    features: Features,
    probe: nn.Conv2d,
    dataset: SegmentationDataset,
    size: int = 512,
    device: torch.device | str = "cpu",
    workers: int = 0,
    crf: bool = False,
) -> tuple[dict[str, Tensor], list[tuple[str, str]]]:
    """Score a probe at each photograph's own size.

    Its labels are enlarged by the nearest pixel. With ``crf``, its logits are enlarged bilinearly instead, and refined
    by :func:`segtricks.refine.dense_crf_labels`.

    Returns:
        What :meth:`SemanticIoU.compute` does, and path and reason of the files that could not be read.
    """
    metric = SemanticIoU(probe.out_channels, sync_on_compute=False).to(device)  # it has the whole set
    skipped: list[tuple[str, str]] = []
    for batch in make_loader(_ProbeItems(dataset, size), _collate_whole, workers, batch_size=1):
        skipped += batch["skipped"]
        for image, photo, target in zip(batch["image"], batch["photo"], batch["labels"], strict=True):
            logits = _logits(probe, features, [image], device)
            labels = _refined(logits, photo.to(device)) if crf else _nearest(logits, target.shape)
            metric.update(labels[None], target[None].to(device))
    return metric.compute(), skipped


def _nearest(logits: Tensor, size: Sequence[int]) -> Tensor:
    """Logits (1, C, h, w) to labels (H, W), each those of the nearest pixel."""
    labels = logits.argmax(dim=1, keepdim=True).float()
    return interpolate(labels, size=tuple(size), mode="nearest")[0, 0].long()


def _refined(logits: Tensor, photo: Tensor) -> Tensor:
    """Logits (1, C, h, w) of a photograph uint8 (3, H, W) to labels (H, W)."""
    large = interpolate(logits, size=photo.shape[-2:], mode="bilinear", align_corners=False)[0]
    # Blue first, as OpenCV reads photographs; the order of the colours decides what the CRF's lattice rounds.
    return dense_crf_labels(large, photo.flip(0) / 255)


class _ProbeItems(Dataset[dict[str, Any] | Skipped]):
    """``image`` uint8 (3, size, size) and ``labels`` int64: with a recipe those of a view, else whole and ``photo``."""

    def __init__(self, dataset: SegmentationDataset, size: int, recipe: ProbeRecipe | None = None) -> None:
        self.dataset, self.size, self.recipe = dataset.with_targets("labels"), size, recipe
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict[str, Any] | Skipped:
        try:
            sample = self.dataset[index]
        except UnreadableImage as error:
            return Skipped(error.path, error.reason)
        image = Image.fromarray(sample["image"].permute(1, 2, 0).numpy())
        target = sample["target"]
        assert isinstance(target, Tensor)  # a map of labels
        labels = Image.fromarray(target[0].numpy().astype(np.int32))
        if self.recipe is not None:
            image, labels = self._view(image, labels, self.recipe, index)
            labels = labels.resize((self.size, self.size), Image.Resampling.NEAREST)
        image = image.resize((self.size, self.size), Image.Resampling.BICUBIC)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
        item = {"image": pixels, "labels": torch.from_numpy(np.array(labels)).long()}
        return item if self.recipe is not None else item | {"photo": sample["image"]}

    def _view(
        self, image: Image.Image, labels: Image.Image, recipe: ProbeRecipe, index: int
    ) -> tuple[Image.Image, Image.Image]:
        random = np.random.default_rng([recipe.seed, self.epoch, index])
        if random.random() < 0.5:
            image, labels = (each.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for each in (image, labels))
        turn = partial(
            affine,
            angle=random.uniform(-recipe.angle, recipe.angle),
            translate=[0, 0],
            scale=random.uniform(*recipe.scales),
            shear=[0.0, 0.0],
        )
        return turn(image, interpolation=InterpolationMode.BICUBIC), turn(labels)


def _collate(items: Sequence[Any]) -> dict[str, Any]:
    return collate_lists(items, ["image", "labels"])


def _collate_whole(items: Sequence[Any]) -> dict[str, Any]:
    return collate_lists(items, ["image", "labels", "photo"])


def _logits(probe: nn.Conv2d, features: Features, images: Sequence[Tensor], device: torch.device | str) -> Tensor:
    with torch.no_grad():
        inputs = to_input(torch.stack(list(images)).to(device))
        found = features(inputs)
    return interpolate(probe(found), size=inputs.shape[-2:], mode="bilinear", align_corners=False)
