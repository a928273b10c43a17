"""What ``segtricks stuff`` does with its options."""

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from segtricks.backbones import create_backbone
from segtricks.backbones.registry import last_feature
from segtricks.commands.options import checked_device
from segtricks.data import ImageFolder
from segtricks.data.images import UnreadableImage
from segtricks.data.targets import WithTargets
from segtricks.data.transforms import VOID, fit_short_side, to_input
from segtricks.errors import UserError
from segtricks.pseudo_labels import Store, add_source, write_page
from segtricks.pseudo_labels.stuff_maps import FILE, Stuff, StuffClusters, write_stuff

MakeMap = Callable[[int, tuple[int, int]], Tensor]


def label_stuff(options: Namespace) -> None:
    """Make the label maps of parsed options.

    Raises:
        UserError: there is nothing to write to, or a backbone or store cannot be had.
    """
    dataset = ImageFolder(Path(options.images))
    store = Store.open(options.masks)
    output = Path(options.output or options.masks)
    if options.output is None and not (store.path / "entries").is_dir():
        raise UserError(f"{store.path} has no entries to which label maps could be added.\nNext: pass --output OUT.")
    make_map = _read_maps(options, dataset) if options.maps else _cluster(options, dataset, output)
    found = write_stuff(store, dataset, make_map, options.stuff, root=dataset.root, output=output)
    how = f"maps in {Path(options.maps).name}" if options.maps else f"k-means of {options.backbone}"
    source = {"classes of stuff": f"S = {options.stuff}, {how}", "void": f"{found.void:.1%} of all pixels"}
    store = add_source(output, store, source)
    if options.page:
        write_page(store, dataset.images, output / "page.html", dataset.root, options.limit)
    _report(found, output)


def _report(found: Stuff, output: Path) -> None:
    for line in found.skipped:
        print("skipped {}: {}".format(*line))
    shares = ", ".join(f"{share:.1%}" for share in found.shares)
    print(
        f"Objects cover {found.objects:.1%} of all pixels, {len(found.shares)} classes of stuff {shares}, "
        f"void {found.void:.1%}; written to {output}: labels/, {FILE}"
    )
    for warning in found.warnings():
        print(f"segtricks: warning: {warning}")


def _cluster(options: Namespace, dataset: ImageFolder, output: Path) -> MakeMap:
    """Clusters of patches."""
    device = checked_device(options.device)
    backbone = create_backbone(
        options.backbone, checkpoint=options.backbone_checkpoint, feature=last_feature(options.backbone)
    ).to(device)

    @torch.no_grad()
    def encode(photo: Tensor) -> Tensor:
        image = to_input(fit_short_side(photo, options.size, backbone.patch_size).to(device))
        features: Tensor = backbone(image[None])[0].float().cpu()
        return features

    names = ("backbone", "backbone_checkpoint", "size")
    about = {name: getattr(options, name) for name in names} | {"weights": backbone.weights}
    folder = output / "stuff"
    return StuffClusters(
        dataset, encode, options.stuff, folder, about=about, seed=options.seed, tries=options.tries
    ).map


def _read_maps(options: Namespace, dataset: ImageFolder) -> MakeMap:
    """Label maps that are there."""
    maps = WithTargets(dataset, options.maps)
    places = {path: place for place, path in enumerate(maps.images)}

    def read(place: int, size: tuple[int, int]) -> Tensor:
        path = dataset.images[place]
        if path not in places:
            raise UnreadableImage(path, f"has no label map in {options.maps}")
        labels = maps.read_labels(places[path])[0]
        if labels.shape != size:
            raise UnreadableImage(path, f"its label map in {options.maps} is of another size")
        return torch.where(labels == VOID, -1, labels)

    return read
