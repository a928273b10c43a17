"""What ``segtricks cluster`` does with its options."""

import hashlib
import json
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from segtricks.commands.cluster_embedding import Embedding, make_embedding
from segtricks.commands.lightning_cli import quiet
from segtricks.commands.options import checked_device
from segtricks.data import ImageFolder, fit_short_side
from segtricks.data.images import UnreadableImage
from segtricks.data.label_entry import Entry, entry_names
from segtricks.data.label_store import FORMAT, Store
from segtricks.data.loading import WholeItems, collate_lists, finished, make_loader
from segtricks.data.pairing import check_matched
from segtricks.data.sample import SegmentationDataset
from segtricks.discovery import pool_regions
from segtricks.errors import UserError
from segtricks.pseudo_labels import cluster_names, to_coco
from segtricks.pseudo_labels.cluster_page import write_cluster_page
from segtricks.pseudo_labels.clusters import Clusters, Member, cluster_masks, write_labelled
from segtricks.pseudo_labels.mask_vectors import discard_vectors, read_vectors, write_vectors
from segtricks.pseudo_labels.parts import check_settings
from segtricks.runs import write_json

_FEW, _MOST = 5, 0.5


@dataclass
class Photographs:
    """Photographs with masks.

    Args:
        entries: the masks of each, empty and full ones left out.
        names: of each its name in the output, and its path below the folder of photographs.
        skipped: path and reason of what cannot be used.
    """

    entries: dict[Path, Entry]
    names: dict[Path, tuple[str, str]]
    skipped: list[tuple[str, str]] = field(default_factory=list)

    def skip(self, path: Path, reason: str) -> None:
        """Leave a photograph out."""
        del self.entries[path]
        self.skipped.append((str(path), reason))


def cluster_photographs(options: Namespace) -> None:
    """Make the label maps of parsed options.

    Raises:
        UserError: options that do not go together, or fewer masks than clusters.
    """
    quiet()
    images, output = Path(options.images), Path(options.output)
    _check_output(images, Path(options.masks), output)
    dataset = ImageFolder(images)
    found = _photographs(dataset, Store.open(options.masks))
    device = checked_device(options.device)
    embedding = make_embedding(options, device)
    settings = embedding.about | {"size": embedding.size}
    if options.overwrite:
        discard_vectors(output, [name for name, _ in found.names.values()])
    else:
        check_settings(output, settings)
    write_json(output / "settings.json", settings)
    _write_vectors(found, embedding, output, options.num_workers, device)
    clusters = _clusters(found, output, options)
    key = _key(clusters)
    names = _names(clusters, output, key)
    classes, class_names = cluster_names.classes_of(names)
    write_labelled(output, clusters, classes, found.names)
    index = _index(found, clusters, class_names, options) | {"clusters_key": key, "settings": settings}
    write_json(output / "index.json", index)
    to_coco(Store.open(output), dataset.images, output / "annotations.json", dataset.root, class_names)
    write_cluster_page(clusters, names, classes, output / "page.html", options.limit)
    _report(found, clusters, class_names, names, output)


def _check_output(images: Path, masks: Path, output: Path) -> None:
    for given in (images, masks):
        if output.resolve() == given.resolve() or given.resolve() in output.resolve().parents:
            raise UserError(f"--output {output} is or lies in {given}, which is read: pass another one.")


def _photographs(dataset: ImageFolder, store: Store) -> Photographs:
    matched = store.match(dataset.images)
    check_matched(dataset.name, dataset.images, matched, f"masks in {store.path}", f" There is {store.names[0]}.")
    below = {path: _below(path, dataset.root) for path in matched}
    names = entry_names(below.values())
    found = Photographs({}, {path: (names[part], part.as_posix()) for path, part in below.items()})
    for path, name in tqdm(matched.items(), desc="masks", unit=" images", disable=None, leave=False, delay=2):
        try:
            found.entries[path] = store.entry(name).usable()
        except UnreadableImage as error:
            found.skipped.append((error.path, error.reason))
    return found


def _below(path: Path, root: Path) -> Path:
    return path.relative_to(root) if path.is_relative_to(root) else Path(path.name)


def _write_vectors(found: Photographs, embedding: Embedding, output: Path, workers: int, device: torch.device) -> None:
    """Write the vectors of the masks that have none, photograph by photograph."""
    todo = [
        path
        for path, entry in found.entries.items()
        if entry.masks and read_vectors(output, found.names[path][0], entry) is None
    ]
    transform = partial(fit_short_side, size=embedding.size, multiple=embedding.multiple)
    items = WholeItems(SegmentationDataset("photographs", todo), transform)
    collate = partial(collate_lists, names=("image", "photo", "path"))
    loader = make_loader(items, collate, min(workers, len(todo) // 8), batch_size=1)
    for batch in tqdm(map(finished, loader), "features", len(todo), unit=" images", disable=None):
        for broken, reason in batch["skipped"]:
            found.skip(Path(broken), reason)
        for image, photo, path in zip(batch["image"], batch["photo"], batch["path"], strict=True):
            entry = found.entries[Path(path)]
            if photo.shape[-2:] != (entry.height, entry.width):
                size = f"{photo.shape[-1]} x {photo.shape[-2]} pixels, its masks {entry.width} x {entry.height}"
                found.skip(Path(path), f"is {size} (width x height)")
                continue
            vectors = _vectors(embedding, image.to(device), entry)
            write_vectors(output, found.names[Path(path)][0], entry, vectors)


@torch.no_grad()
def _vectors(embedding: Embedding, image: Tensor, entry: Entry) -> NDArray[np.float32]:
    features = embedding.features(image[None])[0].float()
    masks = (torch.from_numpy(entry.array(place)).to(features.device) for place in range(len(entry.masks)))
    return torch.cat([pool_regions(features, mask[None]) for mask in masks]).cpu().numpy()


def _clusters(found: Photographs, output: Path, options: Namespace) -> Clusters:
    """Cluster all masks that have vectors.

    Raises:
        UserError: they are fewer than the clusters.
    """
    members: list[Member] = []
    vectors = []
    for path, entry in found.entries.items():
        of_entry = read_vectors(output, found.names[path][0], entry)
        if of_entry is not None:
            members += [Member(path, entry, place) for place in range(len(entry.masks))]
            vectors.append(of_entry)
    if len(members) < options.k:
        for line in found.skipped:
            print("skipped {}: {}".format(*line))
        advice = f"pass --k {len(members)} or fewer" if members else "make masks that are neither empty nor full"
        raise UserError(f"--k {options.k} clusters need as many masks, and {len(members)} can be used: {advice}.")
    return cluster_masks(members, np.concatenate(vectors), options.k, options.seed)


def _key(clusters: Clusters) -> str:
    """What names of clusters belong to: a hash of the masks in each."""
    masks = [(str(member.photograph.name), member.entry.masks[member.place].rle) for member in clusters.members]
    return hashlib.sha256(json.dumps([masks, clusters.labels.tolist()]).encode()).hexdigest()[:16]


def _names(clusters: Clusters, output: Path, key: str) -> dict[int, str]:
    """Return the names of the clusters, and write a file for them if there is none of these clusters.

    Raises:
        UserError: there is one of other clusters, which a person has edited.
    """
    path, index = output / cluster_names.FILE, output / "index.json"
    before: dict[str, Any] = json.loads(index.read_text(encoding="utf-8")) if index.is_file() else {}
    same = before.get("clusters_key") == key and before["k"] == clusters.count  # an empty cluster may have come
    if path.is_file() and same:
        return cluster_names.read_names(path, clusters.count)
    if path.is_file() and "clusters_key" in before:
        names = cluster_names.read_names(path, before["k"])
        if cluster_names.is_edited(names):
            raise UserError(
                f"{path} names the clusters of --k {before['k']} --seed {before['seed']}, and these are others.\n"
                "Next: pass the same options, photographs and masks, or move the file away to begin with new names."
            )
    index.unlink(missing_ok=True)  # of other clusters: killed before the new one is there, the names are nobody's
    cluster_names.write_names(path, clusters.sizes())
    return cluster_names.read_names(path, clusters.count)


def _index(
    found: Photographs, clusters: Clusters, class_names: Mapping[int, str], options: Namespace
) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "images": len({member.photograph for member in clusters.members}),
        "masks": len(clusters.members),
        "k": options.k,
        "seed": options.seed,
        "clusters": {cluster: size for cluster, size in enumerate(clusters.sizes(), start=1)},
        "classes": dict(class_names),
        "without_mask": [found.names[path][1] for path, entry in found.entries.items() if not entry.masks],
        "skipped": [{"path": path, "reason": reason} for path, reason in found.skipped],
    }


def _report(
    found: Photographs, clusters: Clusters, class_names: Mapping[int, str], names: Mapping[int, str], output: Path
) -> None:
    """Say what was left out, how large clusters are, and what to do next."""
    for line in found.skipped:
        print("skipped {}: {}".format(*line))
    without = sum(not entry.masks for entry in found.entries.values())
    if without:
        print(f"{without:,} photographs have no mask, or only empty or full ones: listed in {output / 'index.json'}")
    sizes = clusters.sizes()
    photographs = len({member.photograph for member in clusters.members})
    print(
        f"{sum(sizes):,} masks of {photographs:,} photographs in {clusters.count} clusters "
        f"({', '.join(map(str, sorted(sizes, reverse=True)))}), {len(class_names)} classes, written to {output}: "
        "labels/, entries/, annotations.json, page.html, names.yaml"
    )
    if max(sizes) > _MOST * sum(sizes):
        print("segtricks: warning: one cluster holds more than half of the masks. Next: a larger --k, or other masks.")
    if min(sizes) < _FEW:
        few = sum(size < _FEW for size in sizes)
        print(f"segtricks: warning: {few} clusters hold fewer than {_FEW} masks. Next: a smaller --k.")
    if not cluster_names.is_edited(names):
        print(f"Next: look at {output / 'page.html'}, fill in {output / cluster_names.FILE}, and type the same again.")
