"""``segtricks stuff``: give the photographs of a store a map of stuff, around the masks that it has."""

from collections.abc import Sequence

from segtricks.commands.options import OptionParser, add_device_option, add_page_options, count

USAGE = """--images PHOTOS --masks MASKS --stuff N [--maps STORE] [--backbone dinov2_vits14] [--page]

Clusters the patches of the photographs, or takes the label maps in STORE (from 0; 255 is void), and writes to
MASKS/labels what U2Seg learns: 0 on the masks, 1 to N on stuff, 255 where there is neither. With --output OUT masks and
label maps are written to a store of their own."""


def main(words: Sequence[str]) -> None:
    """Run the command with its option words."""
    options = _parser().parse_args(list(words))
    from segtricks.commands.stuff_labels import label_stuff  # later than the options: torch takes seconds

    label_stuff(options)


def _parser() -> OptionParser:
    parser = OptionParser("stuff", USAGE)
    add = parser.add_argument
    add("--images", required=True, metavar="PHOTOS", help="folder or text list of photographs")
    add("--masks", required=True, metavar="MASKS", help="what segtricks classes wrote")
    add("--stuff", required=True, type=count, metavar="N", help="classes of stuff")
    add("--output", metavar="OUT", help="where to write instead of into MASKS")
    add("--maps", metavar="STORE", help="label maps of another method, such as STEGO")
    add("--seed", type=int, default=0, help="of k-means (default 0)")
    add("--tries", type=count, default=3, help="k-means of so many seeds, the best is kept (default 3)")
    add("--backbone", default="dinov2_vits14", help="frozen network, see segtricks weights list (default %(default)s)")
    add("--backbone_checkpoint", metavar="FILE", help="file with its weights, instead of a download")
    add("--size", type=count, default=480, help="short side in pixels at which it sees a photograph (default 480)")
    add_device_option(parser)
    add_page_options(parser)
    return parser
