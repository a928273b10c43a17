"""Write results.csv from the result files of runs: python experiments/maskcontrast/table.py RUN [RUN ...]"""

import csv
import json
import sys
from pathlib import Path

from segtricks.training.checkpoints import read_checkpoint

FIGURES = ("kmeans_miou", "kmeans_miou_std", "kmeans_miou_present", "kmeans_accuracy")


def lines(run: Path) -> list[dict[str, object]]:
    result = json.loads((run / "test/voc12-val-maskcontrast.json").read_text())
    checkpoint = read_checkpoint(run / "checkpoints/last.ckpt")
    about = {"run": run.name, "step": checkpoint["global_step"], "dataset": result["dataset"]}
    protocol = result["protocol"]
    about |= {"images": result["images"], "components": protocol["components"], "seeds": len(protocol["seeds"])}
    return [
        about | {"row": row} | {name: f"{metrics[name]:.4f}" for name in FIGURES}
        for row, metrics in result["rows"].items()
    ]


def main() -> None:
    rows = [line for run in sys.argv[1:] for line in lines(Path(run))]
    with (Path(__file__).parent / "results.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
