"""The options of ``segtricks data``'s commands. They are read before torch is imported, which takes seconds."""

import os
from pathlib import Path
from typing import get_args

from segtricks.commands.options import OptionParser
from segtricks.words import Orientation

_DOWNLOAD = """NAME… [--root data] [--keep] [--url URL…]

  NAME         datasets of segtricks data list
  --root DIR   folder that the datasets' folders are, or will be, in (default data)
  --keep       keep the archives in DIR/.downloads; an archive that lies there is used instead of a transfer
  --url URL…   addresses instead of the published ones, one for each archive, in order; checksums still apply

A transfer that was stopped goes on where it ended when the same command is typed again."""

_VERIFY = """NAME|FOLDER|LIST.txt [--root data] [--masks DIR|COCO.json] [--boxes DIR|COCO.json]

  --root DIR       where a published set lies
  --masks PATH     masks of a folder or list of photographs: a folder, or a COCO JSON file
  --boxes PATH     boxes of these: a folder of VOC XML files, or a COCO JSON file
  --foreground N … values of the masks that are foreground, where they hold classes
  --ignore N …     values of the masks that are not scored, such as a border of 255
  --orientation X  masks and boxes were drawn on upright photographs (exif) or on their pixels as stored (raw)
  --fix-list FILE  write the good images' paths, one in each line: FILE.txt can be given wherever a folder can
  --strict         another number of images than was published is a fault
  --all            print every file, not the first three of each kind
  --output FILE    all findings as JSON
  --workers N      files opened at once

Exit status: 0 where nothing is wrong, 1 where there are faults, 2 where the set cannot be opened."""


def data_parser(command: str) -> OptionParser:
    """Return the parser of ``list``, ``download`` or ``verify``."""
    parser = {"list": _list, "download": _download, "verify": _verify}[command]()
    parser.add_argument("--root", type=Path, default=Path("data"))
    return parser


def _list() -> OptionParser:
    return OptionParser("data list", "[--root data]")


def _download() -> OptionParser:
    parser = OptionParser("data download", _DOWNLOAD)
    parser.add_argument("names", nargs="+", metavar="NAME")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--url", nargs="+", default=[])
    return parser


def _verify() -> OptionParser:
    parser = OptionParser("data verify", _VERIFY)
    parser.add_argument("dataset")
    for name in ("masks", "boxes", "fix-list", "output"):
        parser.add_argument(f"--{name}", type=Path)
    for name in ("strict", "all"):
        parser.add_argument(f"--{name}", action="store_true")
    for name in ("foreground", "ignore"):
        parser.add_argument(f"--{name}", type=int, nargs="+", metavar="N", default=())
    parser.add_argument("--orientation", choices=get_args(Orientation), default="exif")
    parser.add_argument("--workers", type=int, default=min(16, os.cpu_count() or 1))
    return parser
