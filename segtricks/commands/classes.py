"""``segtricks classes``: give the masks of a store pseudo-classes, by what they show."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from segtricks.commands.options import OptionParser, add_device_option, add_page_options, checked_device, count
from segtricks.data import ImageFolder
from segtricks.pseudo_labels import Store, add_source, to_coco, write_page
from segtricks.pseudo_labels.instance_features import InstanceEncoder, InstanceFeature
from segtricks.pseudo_labels.pseudo_classes import FILE, write_pseudo_classes

USAGE = """--images PHOTOS --masks MASKS --k N [--backbone dinov2_vits14] [--feature class_token] [--page]

Clusters the masks that segtricks discover wrote to MASKS, and writes their classes 1 to N into its entries, or with
--output STORE into a store of its own, with MASKS as they are.
segtricks cluster makes label maps of such classes, which can be given names."""


def main(words: Sequence[str]) -> None:
    """Run the command with its option words."""
    options = _parser().parse_args(list(words))
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


def _parser() -> OptionParser:
    parser = OptionParser("classes", USAGE)
    add = parser.add_argument
    add("--images", required=True, metavar="PHOTOS", help="folder or text list of photographs")
    add("--masks", required=True, metavar="MASKS", help="what segtricks discover or predict wrote")
    add("--k", required=True, type=count, metavar="N", help="number of classes")
    add("--output", metavar="STORE", help="where to write instead of into MASKS")
    add("--seed", type=int, default=0, help="of k-means (default 0)")
    add("--backbone", default="dinov2_vits14", help="frozen network, see segtricks weights list (default %(default)s)")
    add("--backbone_checkpoint", metavar="FILE", help="file with its weights, instead of a download")
    add("--feature", choices=get_args(InstanceFeature), default="class_token", help="of the part of the photograph "
        "around a mask: its class token (default), or the mean of its patches in the mask")  # fmt: skip
    add("--size", type=count, default=480, help="short side in pixels of that part (default 480)")
    add("--margin", type=float, default=0.1, help="around a mask's box, of its width and height (default 0.1)")
    add("--blank", action="store_true", help="leave out the background of a mask")
    add_device_option(parser)
    add_page_options(parser)
    return parser


def _about(options: Namespace, encoder: InstanceEncoder) -> dict[str, object]:
    """What the vectors depend on."""
    names = ("backbone", "backbone_checkpoint", "feature", "margin", "blank")
    about = {name: getattr(options, name) for name in names}
    return about | {"size": encoder.size, "weights": encoder.backbone.weights}
