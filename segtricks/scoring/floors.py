"""What masks score that know nothing of the image: a result that claims to segment is read against them."""

import dataclasses
import os
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from segtricks.data.datasets.registry import open_dataset
from segtricks.data.images import UnreadableImage
from segtricks.data.sample import SaliencyDataset
from segtricks.data.transforms import CenterCropTransform
from segtricks.errors import UserError
from segtricks.metrics import ImageScores, Protocol, SaliencySums, image_scores
from segtricks.parallel import in_threads

ELLIPSE = 0.45


def floors(dataset: SaliencyDataset, protocol: Protocol) -> dict[str, dict[str, float]]:
    """Return the figures of ``everything foreground`` and of a ``centred ellipse`` on every target of a data set.

    The ellipse is (x / (W/2))² + (y / (H/2))² < 0.45. No polarity is applied; targets that cannot be read are left out.
    """
    sums = {name: SaliencySums(protocol) for name in ("everything foreground", "centred ellipse")}
    cut = CenterCropTransform(protocol.size or 320, protocol.resize) if protocol.resolution == "crop" else None

    def work(index: int) -> list[ImageScores] | None:
        """The scores of one target, none of one that cannot be read; None where there are no masks."""
        try:
            target = dataset.read_mask(index)
        except UnreadableImage:
            return []
        if target is None:
            return None
        target = (target if cut is None else cut(target))[None]
        size = (target.shape[-2], target.shape[-1])
        return [image_scores(mask, target, protocol) for mask in (torch.ones(1, 1, *size), ellipse(size))]

    for scores in in_threads(work, range(len(dataset)), min(16, os.cpu_count() or 1), "score floors"):
        if scores is None:
            return {}
        for each, image in zip(sums.values(), scores, strict=False):
            each.add(image)
    return {name: {key: float(value) for key, value in each.compute().items()} for name, each in sums.items()}


def ellipse(size: tuple[int, int]) -> Tensor:
    """Return the centred ellipse (1, 1, H, W) of 0 and 1; pixels are at their centres."""
    y, x = ((torch.arange(side) + 0.5) / (side / 2) - 1 for side in size)
    return (y[:, None] ** 2 + x[None, :] ** 2 < ELLIPSE).float()[None, None]


def find_targets(name: str, images: Sequence[str], source: Mapping[str, Any]) -> SaliencyDataset | None:
    """Return the data set that was scored, its targets readable; None if they are not there any more.

    Args:
        name: of the test set in the result.
        images: paths of the scored images.
        source: ``test``, ``root``, ``masks`` and options of reading as the result file has them.
    """
    for spec in source.get("test") or []:
        if name not in (spec, Path(spec).name):
            continue
        with suppress(UserError, OSError), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of parts of a published set: the test has warned
            choices = {name: source[name] for name in ("foreground", "ignore", "orientation") if name in source}
            dataset = open_dataset(spec, source["root"], masks=source["masks"], **choices)
            dataset.decide_reading()
            numbers = {str(path): number for number, path in enumerate(dataset.images)}
            chosen = [numbers[image] for image in images if image in numbers]
            if chosen and len(chosen) == len(images):
                return dataset.select(chosen)
    return None


def protocol_of(choices: Mapping[str, Any]) -> Protocol:
    """Return the protocol that a result file describes."""
    known = {each.name for each in dataclasses.fields(Protocol)}
    return Protocol(**{key: value for key, value in choices.items() if key in known})
