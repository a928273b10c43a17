"""``segtricks fit``: train without labels, into a run folder; score before and after if asked."""

import argparse
from collections.abc import Sequence

from segtricks.commands.options import OptionParser, check_words, count, take_configs, wants_help

USAGE = "--config CONFIG [--name NAME] [--resume] [--rounds N] [--any.option value]"

UNTIL = 0.95
"""Agreement of the masks with those of the round before at which rounds end."""


def main(words: Sequence[str]) -> None:
    """Run the command with its option words."""
    parser = OptionParser("fit", USAGE)
    parser.add_argument("--name", help="the run folder below runs/ (default: the config's name and a free number)")
    parser.add_argument("--resume", action="store_true", help="go on with the run of that name")
    _add_round_options(parser)
    if wants_help(words):
        from segtricks.commands.helping import show_help

        return show_help(parser, words, "fit")
    configs, words = take_configs(words)
    options, rest = parser.parse_known_args(words)
    check_words("fit", rest, configs)
    # Later than the options: Lightning takes seconds.
    from segtricks.commands.rounds import is_in_rounds, train_in_rounds
    from segtricks.commands.training import train

    if options.rounds is not None or is_in_rounds(options.name):
        return train_in_rounds(options, configs, rest)
    train(options, configs, rest, USAGE)


def _add_round_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--rounds`` and ``--until``."""
    parser.add_argument(
        "--rounds", type=count, metavar="N", help="train up to N times, each time on the masks of the one before"
    )
    parser.add_argument(
        "--until", type=_share, metavar="IOU",
        help=f"end the rounds when masks agree so far with those of the round before (default {UNTIL})",
    )  # fmt: skip


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not an IoU above 0 and at most 1")
    return value
