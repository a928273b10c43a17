"""``segtricks compare``: what was scored, side by side: Markdown, CSV and a figure."""

from collections.abc import Sequence
from pathlib import Path

from segtricks.commands.options import OptionParser
from segtricks.runs import replacing
from segtricks.scoring.results import read_results

USAGE = """runs/A runs/B … [--metric iou …] [--baseline RUN] [--output DIR]

  runs/A …             runs, result files of test or evaluate (JSON), tables of experiments (CSV, or their folders)
  --metric NAME …      acc, iou, max_fbeta, corloc or any other figure of the results; by default these four
  --baseline RUN       the row that the others are compared with: a run, or by its columns: crop=false,row=mask
  --average-seeds      runs that differ in nothing but their seed become one row: mean ± standard deviation
  --output DIR         also write compare.md, compare.csv and compare.png

One table for each data set and protocol: figures of different ones cannot be compared."""


def main(words: Sequence[str]) -> None:
    """Run the command with its option words."""
    parser = OptionParser("compare", USAGE)
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--metric", nargs="+", action="extend", default=[])
    parser.add_argument("--baseline")
    parser.add_argument("--average-seeds", action="store_true")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args(list(words))
    # Later than the options: pandas takes a second to import, and matplotlib and torch some more.
    from segtricks.reports.comparison_tables import markdown, write_table
    from segtricks.scoring.compare import compare

    results = [result for path in dict.fromkeys(options.runs) for result in read_results(path)]
    comparison = compare(results, options.metric, options.baseline, options.average_seeds)
    print(markdown(comparison, differences=options.baseline is not None), end="")
    if options.output is None:
        return
    from segtricks.reports.figures import comparison_figure, not_drawn, save_figure

    missing = list(not_drawn(comparison))
    with replacing(options.output / "compare.md") as path:
        path.write_text(markdown(comparison, notes=missing), encoding="utf-8")
    write_table(options.output / "compare.csv", comparison)
    files = ["compare.md", "compare.csv"]
    figure = comparison_figure(comparison)
    if figure is not None:
        save_figure(figure, options.output / "compare.png", dpi=130)
        files.append("compare.png")
    print("\n".join(["", *missing, f"{', '.join(files)} in {options.output}"]))
