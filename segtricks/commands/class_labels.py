"""What ``segtricks classes`` does with its options."""

from argparse import Namespace
from pathlib import Path

from segtricks.commands.options import checked_device
from segtricks.data import ImageFolder
from segtricks.pseudo_labels import Store, add_source, to_coco, write_page
from segtricks.pseudo_labels.instance_features import InstanceEncoder
from segtricks.pseudo_labels.pseudo_classes import FILE, write_pseudo_classes


def label_classes(options: Namespace) -> None:
    """Give the masks of parsed options their classes.

    Raises:
        UserError: a backbone or store cannot be had, or fewer masks than classes.
    """
    dataset = ImageFolder(Path(options.images))
    store = Store.open(options.masks)
    device = checked_device(options.device)
    encoder = InstanceEncoder(
        options.backbone,
        checkpoint=options.backbone_checkpoint,
        feature=options.feature,
        size=options.size,
        margin=options.margin,
        blank=options.blank,
    ).to(device)
    found = write_pseudo_classes(
        store,
        dataset,
        encoder,
        options.k,
        about=_about(options, encoder),
        seed=options.seed,
        root=dataset.root,
        output=None if options.output is None else Path(options.output),
    )
    source = {"classes of objects": f"K = {options.k}, k-means of {options.feature} of {options.backbone}"}
    store = add_source(options.output or store.path, store, source)
    to_coco(store, dataset.images, store.path / "annotations.json", dataset.root)
    if options.page:
        write_page(store, dataset.images, store.path / "page.html", dataset.root, options.limit)
    for line in found.skipped:
        print("skipped {}: {}".format(*line))
    print(
        f"{sum(found.sizes):,} instances in {options.k} classes ({', '.join(map(str, found.sizes))}), "
        f"written to {store.path}: entries/, annotations.json, {FILE}"
    )
    for warning in found.warnings():
        print(f"segtricks: warning: {warning}")


def _about(options: Namespace, encoder: InstanceEncoder) -> dict[str, object]:
    """What the vectors depend on."""
    names = ("backbone", "backbone_checkpoint", "feature", "margin", "blank")
    about = {name: getattr(options, name) for name in names}
    return about | {"size": encoder.size, "weights": encoder.backbone.weights}
