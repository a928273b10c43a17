"""Clusters of masks, and what is written of them: a store whose masks have classes, with label maps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from segtricks.data.label_entry import Entry, write_entry
from segtricks.data.label_store import entry_files
from segtricks.discovery import cluster_prototypes
from segtricks.pseudo_labels.pictures import colour
from segtricks.runs import replacing

_COMPONENTS = 32
_MASKS_PER_COMPONENT = 4


@dataclass(frozen=True)
class Member:
    """One mask of a photograph.

    Args:
        photograph: its path.
        entry: the photograph's masks.
        place: which of them.
    """

    photograph: Path
    entry: Entry
    place: int


@dataclass(frozen=True)
class Clusters:
    """Masks in clusters.

    Args:
        members: the masks, photograph by photograph.
        labels: (N,) their clusters, from 1.
        distances: (N,) from the middle of their cluster.
        count: number of clusters.
    """

    members: Sequence[Member]
    labels: NDArray[np.int64]
    distances: NDArray[np.float32]
    count: int

    def sizes(self) -> list[int]:
        """Return the number of masks of each cluster."""
        sizes: list[int] = np.bincount(self.labels, minlength=self.count + 1)[1:].tolist()
        return sizes

    def of(self, cluster: int) -> list[Member]:
        """Return the masks of a cluster, those nearest to its middle first."""
        places = np.flatnonzero(self.labels == cluster)
        ordered = places[np.argsort(self.distances[places], kind="stable")]
        return [self.members[place] for place in ordered]


def cluster_masks(members: Sequence[Member], vectors: NDArray[np.float32], count: int, seed: int) -> Clusters:
    """Cluster masks by their vectors (N, D), see :func:`segtricks.discovery.cluster_prototypes`, at unit length."""
    # Whitened, few masks in many components are all equally far apart.
    components = max(1, min(_COMPONENTS, len(vectors) // _MASKS_PER_COMPONENT, vectors.shape[1]))
    found = cluster_prototypes(torch.from_numpy(vectors), count, components, seed, unit=True)
    labels, whitened = found.labels.numpy(), found.whitened.numpy()
    distances = np.zeros(len(labels), np.float32)
    for cluster in range(count):
        own = labels == cluster
        if own.any():
            distances[own] = np.linalg.norm(whitened[own] - whitened[own].mean(axis=0), axis=1)
    return Clusters(members, labels + 1, distances, count)


def write_labelled(
    output: Path, clusters: Clusters, classes: Mapping[int, int], names: Mapping[Path, tuple[str, str]]
) -> None:
    """Write ``entries/`` and ``labels/`` of all photographs: masks with their class, and palette PNGs of the classes.

    Those of other photographs, which an earlier call has written, are removed.

    Args:
        output: folder of the store.
        clusters: the masks.
        classes: the class of each cluster, from 1; masks of the others are left out, and their pixels are 0.
        names: of each photograph, the entry's name and the path below the folder of photographs.
    """
    current = {names[member.photograph][0] for member in clusters.members}
    for name in set(entry_files(output / "entries")) - current:
        # In this order: what is left when this is killed in between is found by its entry, and removed next time.
        (output / "labels" / f"{name}.png").unlink(missing_ok=True)
        (output / "entries" / f"{name}.json").unlink()
    labelled = zip(clusters.members, clusters.labels.tolist(), strict=True)
    for photograph, group in groupby(labelled, key=lambda item: item[0].photograph):
        items = list(group)
        entry = items[0][0].entry
        masks = [
            replace(entry.masks[member.place], class_id=classes[cluster])
            for member, cluster in items
            if cluster in classes
        ]
        kept = replace(entry, masks=tuple(masks))
        name, below = names[photograph]
        write_palette(output / "labels" / f"{name}.png", label_map(kept))
        write_entry(output, name, below, (entry.height, entry.width), masks)


def label_map(entry: Entry) -> NDArray[np.int64]:
    """Return a map (H, W) of the classes of an entry's masks, smaller ones over larger ones; 0 outside."""
    labels = np.zeros((entry.height, entry.width), np.int64)
    areas = entry.areas()
    for place in sorted(range(len(areas)), key=lambda place: -areas[place]):
        labels[entry.array(place)] = entry.masks[place].class_id or 0
    return labels


def write_palette(path: Path, labels: NDArray[np.int64]) -> None:
    """Write a map (H, W) of class ids as a PNG with the colours of :func:`colour`, in one step; of 16 bits from 256 on.

    0 is black.
    """
    if labels.max() > 255:
        picture = Image.fromarray(labels.astype(np.uint16))
    else:
        picture = Image.fromarray(labels.astype(np.uint8))
        colours = np.stack([colour(number) for number in range(256)]).round().astype(np.uint8)
        colours[0] = 0
        picture.putpalette(colours.tobytes())
    with replacing(path) as temporary:
        picture.save(temporary)
