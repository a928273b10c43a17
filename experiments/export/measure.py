"""Compare the exported files of the released head with segtricks itself on photographs that were not trained on.

    python experiments/export/measure.py --root DATA --work FOLDER

DATA holds ECSSD; the last 80 of its first 400 photographs by name are read. FOLDER gets the files and a result for each
photograph, so that a second call goes on, and a call with ``--backwards`` can work at the same time. On one thread,
every file sees a photograph right after the other; segtricks itself sees every fourth. Writes ``results.csv``.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

import segtricks
from segtricks.cli import main as command
from segtricks.data.datasets.registry import open_dataset
from segtricks.methods.graph_files import OnnxFile
from segtricks.methods.mask_graph import GraphInput
from segtricks.metrics.protocols import fit
from segtricks.runs import write_csv, write_json

TAKEN = GraphInput(336, 14, True)
FLOAT, INT8, OWN = "float", "int8", "segtricks"
Run = Callable[[np.ndarray], np.ndarray]


def write_files(work: Path) -> dict[str, Path]:
    """Write the files that are not there; return all by name."""
    files = {FLOAT: work / "dynamic.onnx", INT8: work / "dynamic_int8.onnx"}
    for name, path in files.items():
        if not path.is_file():
            words = ["export", "--released", "--dynamic", "--output", str(path)]
            assert command([*words, "--int8"] if name == INT8 else words) == 0
    return files


def measure(runs: dict[str, Run], photograph: torch.Tensor, target: np.ndarray) -> dict[str, dict[str, float]]:
    """Seconds, IoU at the photograph's size, and differences of the soft masks to the first run's."""
    pixels = TAKEN.fit(photograph).permute(1, 2, 0)[None].numpy()
    found, first = {}, None
    for name, run in runs.items():
        begin = time.perf_counter()
        mask = run(pixels)[0]
        seconds = time.perf_counter() - begin
        full = fit(torch.from_numpy(mask)[None, None], target.shape, "bilinear")[0, 0].numpy() > 0.5
        first = mask if first is None else first
        found[name] = {
            "seconds": seconds,
            "iou": float((full & target).sum() / (full | target).sum()),
            "largest": float(np.abs(mask - first).max()),
            "mean": float(np.abs(mask - first).mean()),
        }
    return found


def table(found: list[dict[str, dict[str, float]]], files: dict[str, Path]) -> list[dict[str, str]]:
    """A line for each model; times are the median ratio to the float file on the same photograph."""
    lines = []
    for name in (OWN, *files):
        seen = [each[name] for each in found if name in each]
        ratios = [each[name]["seconds"] / each[FLOAT]["seconds"] for each in found if name in each]
        lines.append(
            {
                "model": name,
                "photographs": str(len(seen)),
                "megabytes": f"{files[name].stat().st_size / 1e6:.1f}" if name in files else "",
                "iou": f"{np.mean([each['iou'] for each in seen]):.4f}",
                "seconds_to_float": f"{np.median(ratios):.2f}",
                "largest_difference_to_float": f"{max(each['largest'] for each in seen):.1e}",
                "mean_difference_to_float": f"{np.mean([each['mean'] for each in seen]):.1e}",
            }
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--backwards", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.work.mkdir(parents=True, exist_ok=True)
    files = write_files(options.work)
    runs = {name: OnnxFile.open(path) for name, path in files.items()}
    module = segtricks.load_released()
    own = {OWN: lambda pixels: module.masks(list(pixels))}
    photographs = open_dataset("ecssd[320:400]", options.root)
    places = [options.work / "measured" / f"{path.stem}.json" for path in photographs.images]
    for i in tqdm(range(len(places))[:: -1 if options.backwards else 1]):
        if not places[i].is_file():
            target = photographs[i]["target"][0].numpy() >= 128
            write_json(places[i], measure(runs | (own if i % 4 == 0 else {}), photographs[i]["image"], target))
    found = [json.loads(place.read_text()) for place in places]
    write_csv(Path(__file__).with_name("results.csv"), table(found, files))


if __name__ == "__main__":
    main()
