"""Train the three models behind the four rows of crop x guided filter, score them and the floors, write results.csv.

    uv run python experiments/ecssd_cpu/run.py --root DATA --seeds 0 1

Runs that are there (runs/ecssd_cpu-*) are scored again from their files, not trained again.
"""

import argparse
import csv
import json
import statistics
import subprocess
import sys
from pathlib import Path

import torch

from segtricks.data import open_dataset
from segtricks.metrics import SaliencyScores

HERE = Path(__file__).parent
PLAIN, FILTERED = "mask", "mask + guided filter"
# Row: crop, guided filter, the training that gives it, and its row in the result file. Without the crop there is no
# teacher, so the filter can only act at test and one training serves two rows.
ROWS = [
    ("no", "no", "plain", PLAIN),
    ("no", "yes", "plain", FILTERED),
    ("yes", "no", "crop", PLAIN),
    ("yes", "yes", "crop_filter", FILTERED),
]
TRAININGS = {
    "plain": ["--model.crop", "false", "--model.guided_filter", "false"],
    "crop": ["--model.crop", "true", "--model.guided_filter", "false"],
    "crop_filter": ["--model.crop", "true", "--model.guided_filter", "true"],
}
KEYS = ("acc", "iou", "max_fbeta")


def train(training: str, seed: int, root: str) -> dict[str, dict[str, float]]:
    """Return the rows of the result file of one run, training it first if it is not there."""
    name = f"ecssd_cpu-{training}-{seed}"
    result = Path("runs") / name / "test" / "ecssd-320-end.json"
    if not result.is_file():
        words = ["fit", "--config", str(HERE / "config.yaml"), "--name", name, "--seed_everything", str(seed)]
        words += ["--data.root", root, *TRAININGS[training]]
        subprocess.run([sys.executable, "-m", "segtricks", *words], check=True)
    return json.loads(result.read_text())["rows"]


def floors(root: str) -> dict[str, dict[str, float]]:
    """Score two masks that look at no pixel."""
    dataset = open_dataset("ecssd[320:]", root)
    scores = {name: SaliencyScores() for name in ("everything foreground", "centred ellipse")}
    for i in range(len(dataset)):
        target = dataset.read_mask(i)[None]
        height, width = target.shape[-2:]
        y = (torch.arange(height) + 0.5 - height / 2)[:, None] / (height / 2)
        x = (torch.arange(width) + 0.5 - width / 2)[None] / (width / 2)
        ellipse = (x.square() + y.square() < 0.45).float()
        scores["everything foreground"].update(torch.ones(1, 1, height, width), target)
        scores["centred ellipse"].update(ellipse[None, None], target)
    return {name: {key: float(value) for key, value in score.compute().items()} for name, score in scores.items()}


def main() -> None:
    """Run everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, help="folder that holds ECSSD")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    options = parser.parse_args()
    with (HERE / "results.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        columns = [f"{key}{end}" for key in KEYS for end in ("", "_std")]
        writer.writerow(["row", "crop", "guided_filter", "seeds", *columns])
        for name, metrics in floors(options.root).items():
            writer.writerow([name, "", "", "", *(cell for key in KEYS for cell in (f"{metrics[key]:.4f}", ""))])
        for crop, filtered, training, row in ROWS:
            runs = [train(training, seed, options.root)[row] for seed in options.seeds]
            cells = []
            for key in KEYS:
                values = [run[key] for run in runs]
                cells += [
                    f"{statistics.mean(values):.4f}",
                    f"{statistics.stdev(values):.4f}" if len(values) > 1 else "",
                ]
            writer.writerow(["Sempart, descriptor", crop, filtered, " ".join(map(str, options.seeds)), *cells])
    print((HERE / "results.csv").read_text())


if __name__ == "__main__":
    main()
