"""``--cache_features``: options of the commands that look at photographs as they are."""

import argparse
from collections.abc import Sequence

from segtricks.commands.options import OptionParser

USAGE = "[--cache_features] [--cache_dir DIR]"


def add_cache_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--cache_features`` and ``--cache_dir``."""
    parser.add_argument(
        "--cache_features",
        action="store_true",
        help="keep the backbone's features of the photographs on disk: a second test, validate, predict or discover of "
        "the same ones does not compute them; never used while fit trains, where augmentation changes every image",
    )
    parser.add_argument("--cache_dir", metavar="DIR", help="where (default ~/.cache/segtricks/features)")


def take_cache_options(words: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Split option words into these, ``cache_features`` and ``cache_dir``, and the rest."""
    parser = OptionParser("test", USAGE)
    add_cache_options(parser)
    return parser.parse_known_args(list(words))
