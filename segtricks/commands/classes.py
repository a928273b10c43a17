"""``segtricks classes``: give the masks of a store pseudo-classes, by what they show."""

from collections.abc import Sequence
from typing import get_args

from segtricks.commands.options import OptionParser, add_device_option, add_page_options, count
from segtricks.words import InstanceFeature

USAGE = """--images PHOTOS --masks MASKS --k N [--backbone dinov2_vits14] [--feature class_token] [--page]

Clusters the masks that segtricks discover wrote to MASKS, and writes their classes 1 to N into its entries, or with
--output STORE into a store of its own, with MASKS as they are.
segtricks cluster makes label maps of such classes, which can be given names."""


def main(words: Sequence[str]) -> None:
    """Run the command with its option words."""
    options = _parser().parse_args(list(words))
    from segtricks.commands.class_labels import label_classes  # later than the options: torch takes seconds

    label_classes(options)


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
