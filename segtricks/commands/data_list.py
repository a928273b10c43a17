"""``segtricks data list``: the datasets of files, their sizes, and how much of each is there."""

import shlex
from argparse import Namespace
from pathlib import Path

from segtricks.data.datasets.examples import INSTALL, ExamplePhotographs, count_installed
from segtricks.data.datasets.registry import PUBLISHED
from segtricks.data.download.archive import in_words
from segtricks.data.download.fetch import Kind, look
from segtricks.reports.tables import text_table


def main(options: Namespace) -> None:
    """Run the command."""
    root = options.root.expanduser()
    rows = [("examples", str(ExamplePhotographs.expected), "nothing", _examples(), ExamplePhotographs.license_note)]
    for name, kind in PUBLISHED.items():
        rows.append((name, f"{kind.expected:,}", _size(kind), _there(kind, root), kind.license_note))
    print(text_table(("name", "images", "download", f"in {root}", "license"), rows))
    print(f"\nNext: segtricks data download NAME --root {shlex.quote(str(root))}")


def _examples() -> str:
    found = count_installed()
    expected = ExamplePhotographs.expected
    return "there" if found == expected else f"{found} of {expected}: {INSTALL}"


def _size(kind: Kind) -> str:
    if any(archive.account for archive in kind.archives):
        return "by hand"
    sizes = [archive.size for archive in kind.archives]
    return "-" if None in sizes else in_words(sum(sizes))


def _there(kind: Kind, root: Path) -> str:
    found = look(kind, root)
    if found.whole(kind):
        return "there"
    if found.images == kind.expected:
        return "incomplete: masks or boxes are missing"
    return f"incomplete: {found.images:,} of {kind.expected:,}" if found.images else "-"
