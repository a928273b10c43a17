"""The stages by which photographs get the pseudo-labels of U2Seg: masks, their classes, and a map of stuff."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from segtricks.backbones.registry import whole_patches
from segtricks.data.images import UnreadableImage
from segtricks.data.label_store import Store
from segtricks.words import InstanceFeature

MASKS, LABELS = "masks", "pseudo_labels"
"""Folders of a run: of the masks that are found, and of the store to learn from."""


@dataclass(frozen=True)
class PseudoLabels:
    """How ``fit`` makes pseudo-labels, where ``data.masks`` does not have them.

    Args:
        backbone: the frozen network of all stages.
        backbone_checkpoint: a local file with its weights, instead of the download.
        rounds: N, masks of a photograph, at most.
        size: short side in pixels at which MaskCut, in whole patches, and k-means see a photograph.
        refine: of the masks: dense_crf, bilateral_solver, guided_filter or none.
        feature: of a mask: the class token of its part of the photograph, or the mean of its patches in the mask.
        crop_size: short side in pixels of that part.
        stuff_maps: a store with maps of stuff by another method, such as STEGO; left out, k-means of patches.
        tries: of k-means of patches.
    """

    backbone: str = "dino_vitb8"
    backbone_checkpoint: str | None = None
    rounds: int = 3
    size: int = 480
    refine: Literal["dense_crf", "bilateral_solver", "guided_filter", "none"] = "dense_crf"
    feature: InstanceFeature = "class_token"
    crop_size: int = 480
    stuff_maps: str | None = None
    tries: int = 3


@dataclass(frozen=True)
class LabelStage:
    """A command of segtricks.

    Args:
        name: of the stage.
        words: of the command, which takes ``--device`` too.
        hint: what its options are called in ``fit``, in words.
    """

    name: str
    words: list[str]
    hint: str


def missing_labels(masks: str | None, num_stuff: int) -> list[str]:
    """Return which of ``masks``, ``classes`` and ``stuff`` a store does not have; None is no store."""
    if masks is None:
        return ["masks", "classes"] + ["stuff"] * bool(num_stuff)
    store = Store.open(masks)
    missing = [] if _has_classes(store) else ["classes"]
    if num_stuff and not (store.path / "labels").is_dir():
        missing.append("stuff")
    return missing


def _has_classes(store: Store) -> bool:
    """Whether the first mask of all has a class."""
    for name in store.names:
        try:
            found = store.entry(name).masks
        except UnreadableImage:
            continue
        if found:
            return found[0].class_id is not None
    return True


def label_stages(
    options: PseudoLabels,
    masks: str | None,
    home: Path,
    *,
    num_things: int,
    num_stuff: int,
    seed: int,
) -> list[LabelStage]:
    """Return the commands that make what a store lacks, in the run's folder ``home``; none where it lacks nothing.

    Args:
        options: of the commands.
        masks: the store that is there, or None.
        home: with ``photographs.txt``; gets ``masks`` and ``pseudo_labels``.
        num_things: K.
        num_stuff: S.
        seed: of k-means.
    """
    missing = missing_labels(masks, num_stuff)
    network = ["--backbone", options.backbone]
    if options.backbone_checkpoint is not None:
        network += ["--backbone_checkpoint", options.backbone_checkpoint]
    clustering = [*network, "--seed", str(seed)]
    images = ["--images", str(home / "photographs.txt")]
    stages = []
    taken, output = str(masks), str(home / LABELS)
    if "masks" in missing:
        taken = str(home / MASKS)
        words = ["discover", *images, "--output", taken, *network, *_masks_words(options)]
        stages.append(LabelStage("masks", words, "Its options are --model.labels.size, .rounds and .refine here."))
    if "classes" in missing:
        words = ["classes", *images, "--masks", taken, "--output", output, "--k", str(num_things), *clustering]
        words += ["--feature", options.feature, "--size", str(options.crop_size)]
        words += [] if "stuff" in missing else ["--page"]
        stages.append(LabelStage("classes", words, "--k is --model.num_things here."))
        taken = output
    if "stuff" in missing:
        words = ["stuff", *images, "--masks", taken, "--output", output, "--stuff", str(num_stuff), *clustering]
        words += [*_stuff_words(options), "--page"]
        stages.append(LabelStage("stuff", words, "--stuff is --model.num_stuff here."))
    return stages


def _masks_words(options: PseudoLabels) -> list[str]:
    words = ["--method", "maskcut", "--size", str(whole_patches(options.size, options.backbone))]
    words += ["--rounds", str(options.rounds)]
    return [*words, "--refine", options.refine]


def _stuff_words(options: PseudoLabels) -> list[str]:
    words = ["--size", str(options.size), "--tries", str(options.tries)]
    return words if options.stuff_maps is None else [*words, "--maps", options.stuff_maps]
