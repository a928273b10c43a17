"""Maps of stuff of all photographs of a store, merged with its masks into the label maps that a network learns."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from segtricks.data.images import UnreadableImage, read_labels
from segtricks.data.label_entry import Entry, write_entry, write_labels
from segtricks.data.label_store import Store
from segtricks.data.sample import SegmentationDataset
from segtricks.data.transforms import VOID
from segtricks.errors import UserError
from segtricks.pseudo_labels.kmeans import kmeans
from segtricks.pseudo_labels.merge import merge_panoptic, semantic_target
from segtricks.pseudo_labels.stuff import SAMPLED, nearest_stuff, unit_patches
from segtricks.runs import replacing, write_json

FILE = "stuff.json"
MOST = 0.5
"""A larger share of all stuff in one class is worth a warning."""

Encode = Callable[[Tensor], Tensor]
"""From a photograph uint8 (3, H, W) to features (D, h, w)."""


@dataclass(frozen=True)
class Stuff:
    """What was written.

    Args:
        shares: of all pixels, of the classes of stuff 1 to S.
        objects: the share of objects.
        void: the share of pixels that are neither.
        skipped: path and reason of what cannot be used.
    """

    shares: list[float]
    objects: float
    void: float
    skipped: list[tuple[str, str]]

    def warnings(self) -> list[str]:
        """Return what is unusual about the shares, and what to type next."""
        found = []
        if max(self.shares) > MOST * sum(self.shares):
            found.append("one class holds more than half of the stuff. Next: a larger --stuff.")
        nothing = sum(not share for share in self.shares)
        if nothing:
            found.append(f"{nothing} of {len(self.shares)} classes of stuff hold nothing. Next: a smaller --stuff.")
        return found


class StuffClusters:
    """Clusters of the patches of all photographs, and the map of each; both are kept, so that a stopped call goes on.

    Args:
        photographs: whose patches make the clusters, evenly spread; those that cannot be read have none.
        encode: makes their features.
        clusters: S.
        folder: where patches and maps are kept.
        about: what features depend on, plain data.
        seed: of k-means, see :func:`segtricks.pseudo_labels.kmeans`.
        tries: of k-means.

    Raises:
        UserError: more clusters than patches.
    """

    def __init__(
        self,
        photographs: SegmentationDataset,
        encode: Encode,
        clusters: int,
        folder: Path,
        *,
        about: Mapping[str, Any],
        seed: int = 0,
        tries: int = 1,
    ) -> None:
        self.photographs, self.encode = photographs, encode
        names = [str(path.absolute()) for path in photographs.images]
        self._samples = folder / _key(names, about)
        self._maps = self._samples / _key(clusters, seed, tries)
        count = -(-SAMPLED // len(names))
        samples = []
        for place in tqdm(range(len(names)), desc="patches", unit=" images", disable=None):
            try:
                samples.append(self._sample(place, count))
            except UnreadableImage:
                continue  # named when its map is made
        if not samples:
            raise UserError("None of the photographs can be read.")
        self.centroids = kmeans(torch.cat(samples), clusters, seed=seed, tries=tries).centroids

    def map(self, place: int, size: tuple[int, int]) -> Tensor:
        """Return clusters (H, W) from 0 of a photograph; an ``UnreadableImage`` where it cannot be read."""
        path = self._maps / f"{place}.png"
        if path.is_file():
            return read_labels(path)[0]
        found = nearest_stuff(self._features(place), size, self.centroids)
        with replacing(path, durable=False) as temporary:
            Image.fromarray(found.numpy().astype(np.uint8)).save(temporary)
        return found

    def _sample(self, place: int, count: int) -> Tensor:
        path = self._samples / f"{place}.npy"
        if path.is_file():
            return torch.from_numpy(np.load(path))
        patches = unit_patches(self._features(place))
        chosen = patches[np.linspace(0, len(patches) - 1, min(count, len(patches))).round().astype(int)]
        with replacing(path, durable=False) as temporary, temporary.open("wb") as file:
            np.save(file, chosen.numpy())
        return chosen

    def _features(self, place: int) -> Tensor:
        return self.encode(self.photographs.read_image(place))


def write_stuff(
    store: Store,
    photographs: SegmentationDataset,
    make_map: Callable[[int, tuple[int, int]], Tensor],
    classes: int,
    *,
    root: Path | None = None,
    output: Path | None = None,
) -> Stuff:
    """Write the label map of each photograph: 0 on its masks, 1 to S on stuff, 255 where there is neither.

    Masks and map are merged by :func:`segtricks.pseudo_labels.merge_panoptic`; the masks of the entries stay as they
    are. ``stuff.json`` keeps the shares.

    Args:
        store: the masks.
        photographs: of the store.
        make_map: from the place of a photograph and its size to its map (H, W) of classes from 0; below 0 there is
            none. See :class:`StuffClusters`.
        classes: S.
        root: see :meth:`Store.match`.
        output: another store to write to, which gets the entries as well.

    Raises:
        UserError: a map has other classes, or there is nothing to write.
    """
    if classes >= VOID:
        raise UserError(f"--stuff {classes}: a label map has room for {VOID - 1} classes.")
    home, skipped = output or store.path, []
    counts = np.zeros(VOID + 1, np.int64)
    places = {path: place for place, path in enumerate(photographs.images)}
    for path, name in tqdm(store.match(photographs.images, root).items(), desc="stuff", unit=" images", disable=None):
        try:
            entry = replace(store.entry(name), soft=None, labels=None)
            entry.check_sizes(path)
            labels = _merged(entry, make_map(places[path], (entry.height, entry.width)), classes)
        except UnreadableImage as error:
            skipped.append((error.path, error.reason))
            continue
        write_labels(home, name, labels)
        if home != store.path:
            write_entry(home, name, entry.image, (entry.height, entry.width), entry.masks)
        counts += np.bincount(labels.ravel(), minlength=VOID + 1)
    if not counts.any():
        raise UserError(f"No photograph of {store.path} can be used: {len(skipped):,} cannot be read.")
    shares = (counts / counts.sum()).tolist()
    found = Stuff(shares[1 : classes + 1], shares[0], shares[VOID], skipped)
    listed = [{"path": path, "reason": reason} for path, reason in skipped]
    content = {"classes": classes, "shares": found.shares, "objects": found.objects, "void": found.void}
    write_json(home / FILE, content | {"skipped": listed})
    return found


def _merged(entry: Entry, stuff: Tensor, classes: int) -> NDArray[np.int64]:
    if int(stuff.max()) >= classes:
        raise UserError(f"The map of {entry.name} has the class {int(stuff.max())}, and --stuff {classes} ends before.")
    usable = entry.usable()
    kinds = [1 if mask.class_id is None else mask.class_id for mask in usable.masks]
    highest = max(kinds, default=1)
    things = torch.tensor(kinds, dtype=torch.int64)
    panoptic = merge_panoptic(torch.from_numpy(usable.arrays()), things, stuff, num_things=highest)
    labels: NDArray[np.int64] = semantic_target(panoptic, num_things=highest).numpy()
    return labels


def _key(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
