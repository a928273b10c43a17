"""``segtricks data``: which datasets there are, get them, check them."""

import difflib
import importlib
from collections.abc import Sequence

from segtricks.commands.data_parsers import data_parser
from segtricks.errors import UserError

COMMANDS = ("list", "download", "verify")

USAGE = """\
usage: segtricks data list [--root data]                                     which datasets there are, and what is here
       segtricks data download NAME… [--root data] [--keep] [--url URL…]
       segtricks data verify NAME|FOLDER|LIST.txt [--root data] [--masks DIR|COCO.json] [--fix-list FILE]

All options of one of them: segtricks data download --help
"""


def main(words: Sequence[str]) -> None:
    """Run the command with its option words."""
    command = words[0] if words else "--help"
    if command in ("-h", "--help", "help"):
        print(USAGE, end="")
        return
    if command not in COMMANDS:
        near = difflib.get_close_matches(command, COMMANDS, 1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise UserError(f"Unknown command 'data {command}'{hint}: allowed are {', '.join(COMMANDS)}.")
    options = data_parser(command).parse_args(list(words[1:]))
    options.words = list(words)
    importlib.import_module(f"segtricks.commands.data_{command}").main(options)
