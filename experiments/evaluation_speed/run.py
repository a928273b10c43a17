"""How fast the measures are, against a naive loop and against pysodmetrics.

    uv run --group oracle python experiments/evaluation_speed/run.py [--targets GT] [--repeat 3]

Maximum F over 255 thresholds on 400 masks of 320 x 320, one torch thread, against thresholding 255 times; peak memory
of the process beyond the inputs of one batch. With a folder of masks, `evaluate` against pysodmetrics computing MAE,
S, E, weighted F and F of the same files one after another, reading included, in turns; medians go to results.csv.
"""

import argparse
import csv
import io
import os
import resource
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import py_sod_metrics as sod
import torch
from PIL import Image, ImageFilter

from segtricks.cli import main as segtricks
from segtricks.metrics import MaxFBeta

sys.path.append(str(Path(__file__).parents[1] / "speed"))
from bench import machine

COLUMNS = ["processor", "threads", "masks", "repetitions", "side", "seconds", "cpu_seconds", "times_evaluate"]
BATCHES, BATCH, SIDE = 50, 8, 320


def batch(seed):
    generator = torch.Generator().manual_seed(seed)
    pred = torch.rand(BATCH, 1, SIDE, SIDE, generator=generator)
    return pred, torch.rand(BATCH, 1, SIDE, SIDE, generator=generator) > 0.6


def naive(pred, truth):
    """F of each image at each of 255 thresholds, one after another."""
    curves = torch.zeros(len(pred), 255, dtype=torch.float64)
    for i, (image, mask) in enumerate(zip(pred, truth, strict=True)):
        for k in range(255):
            chosen = image > k / 255
            hits = (chosen & mask).sum()
            precision = hits / chosen.sum() if chosen.any() else torch.tensor(1.0)
            recall = hits / mask.sum()
            if precision + recall > 0:
                curves[i, k] = 1.3 * precision * recall / (0.3 * precision + recall)
    return curves.sum(dim=0)


def maximum_f():
    torch.set_num_threads(1)
    metric, slow, total = MaxFBeta(), 0.0, torch.zeros(255, dtype=torch.float64)
    metric.update(*batch(0))
    metric.reset()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    fast = 0.0
    for seed in range(BATCHES):
        pred, truth = batch(seed)
        start = time.perf_counter()
        metric.update(pred, truth)
        fast += time.perf_counter() - start
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    for seed in range(2):  # the naive loop takes the same time for every batch
        start = time.perf_counter()
        total += naive(*batch(seed))
        slow += (time.perf_counter() - start) * BATCHES / 2
    check = MaxFBeta()
    for seed in range(2):
        check.update(*batch(seed))
    assert torch.allclose(check.f_sum, total, atol=1e-5)
    print(f"max F, {BATCHES * BATCH} masks: {fast:.2f} s, naive {slow:.1f} s, {slow / fast:.0f} times; {memory:.0f} MB")


def make_predictions(targets: Path, folder: Path) -> list[tuple[Path, Path]]:
    """Write soft masks: the targets blurred by 1 to 8 pixels, scaled, with noise of 12 levels."""
    random, pairs = np.random.default_rng(0), []
    for number, path in enumerate(sorted(targets.iterdir())):
        mask = np.asarray(Image.open(path).convert("L").filter(ImageFilter.GaussianBlur(1 + number % 8)), float)
        soft = mask * random.uniform(0.7, 1) + random.integers(-12, 13, mask.shape)
        pairs.append((folder / f"{path.stem}.png", path))
        Image.fromarray(soft.clip(0, 255).astype(np.uint8)).save(pairs[-1][0])
    return pairs


def by_pysodmetrics(pairs: list[tuple[Path, Path]]) -> None:
    judges = [sod.Fmeasure(), sod.MAE(), sod.Smeasure(), sod.Emeasure(), sod.WeightedFmeasure()]
    for prediction, target in pairs:
        pred, mask = cv2.imread(str(prediction), 0), cv2.imread(str(target), 0)
        for judge in judges:
            judge.step(pred=pred, gt=mask)


def by_evaluate(predictions: Path, targets: Path) -> None:
    words = ["evaluate", "--predictions", str(predictions), "--targets", str(targets), "--protocol", "sod"]
    with redirect_stdout(io.StringIO()):
        assert segtricks(words) == 0


def seconds(call: Callable[[], None]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - cpu


def folders(targets: Path, repeat: int, output: Path) -> None:
    """Time both in turns and append a row of each side's medians, in seconds."""
    torch.set_num_threads(os.cpu_count() or 1)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        pairs = make_predictions(targets, Path(folder))
        sides = {
            "evaluate": partial(by_evaluate, Path(folder), targets),
            "pysodmetrics": partial(by_pysodmetrics, pairs),
        }
        for side in sides.values():
            side()  # imports, and files into the memory of the system
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
        for _ in range(repeat):
            for name, side in sides.items():
                times[name].append(seconds(side))
    ratios = [other[0] / own[0] for own, other in zip(times["evaluate"], times["pysodmetrics"], strict=True)]
    new = not output.exists()
    with output.open("a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if new:
            writer.writerow(COLUMNS)
        for name, taken in times.items():
            wall, cpu = (statistics.median(column) for column in zip(*taken, strict=True))
            ratio = statistics.median(ratios) if name == "pysodmetrics" else 1
            row = [machine(torch.device("cpu")), os.cpu_count(), len(pairs), repeat, name]
            row += [f"{wall:.2f}", f"{cpu:.2f}", f"{ratio:.2f}"]
            writer.writerow(row)
            print(*row, sep="\t")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--targets", type=Path, help="a folder of masks; soft masks are made of them")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("results.csv"))
    options = parser.parse_args()
    maximum_f()
    if options.targets:
        folders(options.targets, options.repeat, options.output)
