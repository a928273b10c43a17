"""IoU by object size from the result files of a run of this experiment.

    python experiments/training_free/sizes.py runs/training_free

writes ``size_bins.csv``: the 20 bins of each result on ECSSD, joined to five that hold enough photographs.
"""

import csv
import itertools
import json
import sys
from pathlib import Path

EDGES = (0.0, 0.05, 0.1, 0.2, 0.4, 1.0)
METHODS = ("tokencut", "lost", "deep_spectral", "found")


def joined(bins: list[dict], low: float, high: float) -> tuple[int, float]:
    """Number of photographs whose object covers ``low`` to ``high`` of them, and their mean IoU."""
    own = [entry for entry in bins if entry["images"] and low - 1e-9 <= entry["from"] < high - 1e-9]
    images = sum(entry["images"] for entry in own)
    return images, sum(entry["iou"] * entry["images"] for entry in own) / images


rows = []
for method in METHODS:
    (file,) = Path(sys.argv[1]).glob(f"{method}-ecssd/test/*.json")
    for mask, bins in json.loads(file.read_text())["size_bins"].items():
        for low, high in itertools.pairwise(EDGES):
            images, iou = joined(bins, low, high)
            rows.append([method, mask, low, high, images, f"{iou:.4f}"])
with Path(__file__).with_name("size_bins.csv").open("w", newline="") as file:
    csv.writer(file, lineterminator="\n").writerows([["method", "mask", "from", "to", "images", "iou"], *rows])
