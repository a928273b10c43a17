"""What ``predict`` and ``discover`` are asked for: photographs, and what is written of them."""

import argparse
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from segtricks.commands.options import add_page_options
from segtricks.errors import UserError

if TYPE_CHECKING:
    from segtricks.pseudo_labels.parts import Share


@dataclass(frozen=True)
class Task:
    """Photographs, and what is written of them."""

    photos: Path
    output: Path
    shard: "Share"
    overwrite: bool
    page: bool
    limit: int
    boxes: bool


def add_task_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a :class:`Task`."""
    parser.add_argument("--images", required=True, metavar="PHOTOS", help="folder or text list of photographs")
    parser.add_argument("--output", required=True, metavar="MASKS", help="folder for soft/, binary/ and overlay/")
    parser.add_argument("--shard", default="1/1", metavar="I/N", help="write only this part of the photographs")
    parser.add_argument("--overwrite", action="store_true", help="make masks again that are there")
    add_page_options(parser)


def task_of(options: Namespace, boxes: bool) -> Task:
    """Return the task of parsed options.

    Raises:
        UserError: the masks would lie among the photographs, or the shard is not a part.
    """
    photos, output = Path(options.images), Path(options.output)
    if output.resolve() == photos.resolve():
        raise UserError(f"--output {output} is the folder of the photographs: pass another one.")
    if photos.resolve() in output.resolve().parents:
        raise UserError(f"--output {output} lies among the photographs, and would be one of them: pass another one.")
    from segtricks.pseudo_labels.parts import share  # torch takes seconds, and reading the options needs none

    return Task(photos, output, share(options.shard), options.overwrite, options.page, options.limit, boxes)
