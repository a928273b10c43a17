"""``segtricks report``: one HTML page on a run, to open, send or print; it needs no server and no network."""

from collections.abc import Sequence
from pathlib import Path

from segtricks.commands.options import OptionParser
from segtricks.runs import existing_run, replacing

USAGE = """runs/NAME [--output FILE]

  --output FILE  where to write the page; by default runs/NAME/report.html

Config, training curves, scores next to score floors and published numbers, pictures, IoU by object size and the worst
images. The score floors read the targets again, if they are still where they were."""


def main(words: Sequence[str]) -> None:
    """Run the command with its option words."""
    parser = OptionParser("report", USAGE)
    parser.add_argument("run")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args(list(words))
    from segtricks.reports.page import run_page  # later than the options: matplotlib takes a second

    run = existing_run(options.run)
    output = options.output or run / "report.html"
    content = run_page(run, output)
    with replacing(output) as path:
        path.write_text(content, encoding="utf-8")
    print(f"{output} ({len(content.encode()) / 1e6:.1f} MB)")
