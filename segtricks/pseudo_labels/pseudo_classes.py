"""Pseudo-classes: the masks of a store, clustered by what they show."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from segtricks.data.images import UnreadableImage
from segtricks.data.label_entry import Entry, write_entry
from segtricks.data.label_store import Store
from segtricks.data.sample import SegmentationDataset
from segtricks.errors import UserError
from segtricks.pseudo_labels.kmeans import kmeans
from segtricks.pseudo_labels.mask_vectors import read_vectors, write_vectors
from segtricks.runs import write_json

FILE = "classes.json"
FEW, MOST = 5, 0.5
"""Fewer instances than this, or a larger share of all of them, are worth a warning."""

Encode = Callable[[Tensor, Entry], Tensor]
"""From a photograph uint8 (3, H, W) and its n masks to n vectors (n, D)."""


@dataclass(frozen=True)
class PseudoClasses:
    """``sizes`` of the classes 1 to K, in instances, and ``skipped``: path and reason of what cannot be used."""

    sizes: list[int]
    skipped: list[tuple[str, str]]

    def warnings(self) -> list[str]:
        """Return what is unusual about the sizes, and what to type next."""
        found = []
        if max(self.sizes) > MOST * sum(self.sizes):
            found.append("one class holds more than half of the instances. Next: a larger --k, or other masks.")
        few = sum(size < FEW for size in self.sizes)
        if few:
            found.append(f"{few} of {len(self.sizes)} classes hold fewer than {FEW} instances. Next: a smaller --k.")
        return found


def write_pseudo_classes(
    store: Store,
    photographs: SegmentationDataset,
    encode: Encode,
    classes: int,
    *,
    about: Mapping[str, Any],
    seed: int = 0,
    root: Path | None = None,
    output: Path | None = None,
) -> PseudoClasses:
    """Cluster the masks of the photographs, and write to the store's entries the class of each, from 1 to K.

    Masks that are empty or full have no class. Vectors are kept in the store, so that a call that was stopped goes on,
    and one with another K computes none again. ``classes.json`` keeps the sizes.

    Args:
        store: a folder with entries, as ``segtricks discover`` writes it.
        photographs: of the store.
        encode: see :class:`segtricks.pseudo_labels.instance_features.InstanceEncoder`.
        classes: K.
        about: what the vectors depend on, plain data.
        seed: of k-means, see :func:`segtricks.pseudo_labels.kmeans`.
        root: see :meth:`Store.match`.
        output: another store to write to, so that this one, which may be of any kind, stays as it is.

    Raises:
        UserError: the store is not such a folder and there is no ``output``, or it holds fewer instances than classes.
    """
    if output is None and not (store.path / "entries").is_dir():
        raise UserError(
            f"{store.path} has no entries to which classes could be written.\n"
            "Next: pass a folder that segtricks discover or predict wrote."
        )
    home = output or store.path
    key = hashlib.sha256(json.dumps(dict(about), sort_keys=True).encode()).hexdigest()[:16]
    folder = home / "instances" / key
    skipped: list[tuple[str, str]] = []
    entries, vectors = [], []
    matched = store.match(photographs.images, root)
    places = {path: place for place, path in enumerate(photographs.images)}
    for path, name in tqdm(matched.items(), desc="instances", unit=" images", disable=None):
        try:
            entry = store.entry(name)
            read = partial(photographs.read_image, places[path])
            vectors.append(_vectors(folder, path, entry, read, encode))
            entries.append(entry)
        except UnreadableImage as error:
            skipped.append((error.path, error.reason))
    count = sum(map(len, vectors))
    if count < classes:
        advice = f"pass --k {count} or fewer" if count else "make masks first, with segtricks discover"
        raise UserError(f"--k {classes} classes need as many instances, and {count} can be used: {advice}.")
    labels = kmeans(torch.cat(vectors), classes, seed=seed).labels + 1
    for entry, own in zip(entries, labels.split([len(part) for part in vectors]), strict=True):
        _write_classes(home, entry, own.tolist(), home != store.path)
    sizes = torch.bincount(labels, minlength=classes + 1)[1:].tolist()
    listed = [{"path": path, "reason": reason} for path, reason in skipped]
    content = {"classes": classes, "instances": count, "sizes": sizes, "seed": seed, "features": dict(about)}
    write_json(home / FILE, content | {"skipped": listed})
    return PseudoClasses(sizes, skipped)


def _vectors(folder: Path, path: Path, entry: Entry, read: Callable[[], Tensor], encode: Encode) -> Tensor:
    """Vectors (n, D) of the usable masks of an entry; an ``UnreadableImage`` where they cannot be had."""
    usable = entry.usable()
    known = read_vectors(folder, entry.name, usable)
    if known is not None:
        return torch.from_numpy(known)
    entry.check_sizes(path)
    vectors = encode(read(), usable).float()
    write_vectors(folder, entry.name, usable, vectors.numpy())
    return vectors


def _write_classes(folder: Path, entry: Entry, labels: list[int], new: bool) -> None:
    """Write an entry again, its usable masks with the classes ``labels``, the others without any."""
    usable = entry.usable().masks
    classes = dict(zip(usable, labels, strict=True))
    masks = [replace(mask, class_id=classes.get(mask)) for mask in entry.masks]
    if new or tuple(masks) != entry.masks:
        write_entry(folder, entry.name, entry.image, (entry.height, entry.width), masks)
