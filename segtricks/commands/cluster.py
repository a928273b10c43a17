"""``segtricks cluster``: photographs and masks in, label maps by kind out."""

import argparse
from collections.abc import Sequence

from segtricks.commands.options import OptionParser, add_device_option, count
from segtricks.parallel import processors
from segtricks.words import FEATURES

USAGE = (
    "--images PHOTOS --masks MASKS --k N --output LABELS [--backbone dinov2_vits14 | --run runs/NAME]\n\n"
    "Look at LABELS/page.html, give the clusters names in LABELS/names.yaml, and type the same command again."
)


def main(words: Sequence[str]) -> None:
    """Run the command with its option words."""
    options = _parser().parse_args(list(words))
    from segtricks.commands.cluster_masks import cluster_photographs  # later than the options: torch takes seconds

    cluster_photographs(options)


def _parser() -> OptionParser:
    parser = OptionParser("cluster", USAGE)
    add = parser.add_argument
    add("--images", required=True, metavar="PHOTOS", help="folder or text list of photographs")
    add("--masks", required=True, metavar="MASKS", help="output of predict or discover, folder of masks, or COCO JSON")
    add("--output", required=True, metavar="LABELS", help="folder for labels/, annotations.json, page.html, names.yaml")
    add("--k", required=True, type=count, metavar="N", help="number of clusters")
    add("--seed", type=int, default=0, help="of k-means (default 0)")
    _add_embedding_options(parser)
    add("--num_workers", type=int, default=processors(), help="reading processes (default here: %(default)s)")
    add("--limit", type=count, default=24, metavar="N", help="pictures of each cluster on the page (default 24)")
    add("--overwrite", action="store_true", help="compute features again that are there")
    add_device_option(parser)
    return parser


def _add_embedding_options(parser: argparse.ArgumentParser) -> None:
    """Add what the masks are compared by, for ``cluster_embedding.make_embedding``."""
    add = parser.add_argument
    add("--backbone", default="dinov2_vits14", help="frozen network, see segtricks weights list (default %(default)s)")
    add("--backbone_checkpoint", metavar="FILE", help="file with its weights, instead of a download")
    add("--feature", choices=FEATURES, help="what is averaged in each mask (default token)")
    add("--layer", type=int, default=-1, help="whose features, from 0, or from the end with -1 (default)")
    add("--run", metavar="runs/NAME", help="take the embedding of a MaskContrast run instead of a backbone's features")
    add("--size", type=count, help="short side in pixels at which the network sees it (default 320, or the run's)")
