"""``segtricks evaluate``: score folders of masks, from any method, by a named protocol. It needs no model."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from segtricks.commands.options import OptionParser
from segtricks.words import Orientation, Polarity, Select

USAGE = """--predictions MASKS [MASKS …] --targets GT [--protocol fullres]

  --predictions DIR …  folders of masks (or what segtricks predict wrote); several are compared
  --targets DIR        ground truth of the same names; may be left out with --boxes
  --protocol NAME      fullres, two-tricks, tokencut, sod, found-single, found-multi, selfmask or move;
                       any choice of it can be changed: sod:f_average=images,beta2=1
  --output FILE        every figure as JSON
  --per-image FILE     every figure of every image as CSV
  --figures DIR        curves, IoU by object size, best and worst images (with --images DIR: next to the photographs)
  --boxes PATH         CorLoc against VOC's Annotations folder or a COCO JSON file
  --foreground N …     values of the targets that are foreground, where they hold classes
  --ignore N …         values of the targets whose pixels are not scored, such as a border of 255
  --orientation X      targets and boxes were drawn on upright photographs (exif), or on the pixels of --images as
                       they are stored (raw)
  --polarity RULE      turn a mask over if its mean (image), or its mean along the border (border), exceeds 0.5
  --select RULE        which component gives the box: largest_bbox, largest_area or seed
  --no-hard            leave VOC's difficult and truncated objects out
  --workers N          images scored at once

Masks are scored as they are: no polarity is applied unless asked for."""


def main(words: Sequence[str]) -> None:
    """Run the command with its option words."""
    options = _parser().parse_args(list(words))
    from segtricks.commands.folder_scores import score_folders  # later than the options: torch takes seconds

    score_folders(options)


def _parser() -> OptionParser:
    parser = OptionParser("evaluate", USAGE)
    parser.add_argument("--predictions", nargs="+", type=Path, required=True)
    for name in ("targets", "output", "per-image", "figures", "images", "boxes"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--protocol", default="fullres")
    parser.add_argument("--polarity", choices=get_args(Polarity))
    parser.add_argument("--select", choices=get_args(Select))
    parser.add_argument("--foreground", type=int, nargs="+", metavar="N")
    parser.add_argument("--ignore", type=int, nargs="+", metavar="N")
    parser.add_argument("--orientation", choices=get_args(Orientation), default="exif")
    parser.add_argument("--no-hard", action="store_true")
    parser.add_argument("--workers", type=int, default=min(16, os.cpu_count() or 1))
    return parser
