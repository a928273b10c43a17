"""How fast the measures are, against a naive loop and against pysodmetrics.

    python experiments/evaluation_speed/run.py [--predictions MASKS --targets GT]

Maximum F over 255 thresholds on 400 masks of 320 x 320, one torch thread, against thresholding 255 times; peak memory
of the process beyond the inputs of one batch. With two folders, `evaluate` against pysodmetrics (if it is installed)
computing MAE, S, E, weighted F and F of the same files one after another, reading included.
"""

import argparse
import os
import resource
import time
import warnings
from pathlib import Path

import torch

from segtricks.cli import main as segtricks
from segtricks.metrics import MaxFBeta

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


def folders(predictions, targets):
    torch.set_num_threads(os.cpu_count() or 1)
    words = ["evaluate", "--predictions", str(predictions), "--targets", str(targets), "--protocol", "sod"]
    assert segtricks(words) == 0  # imports, and files into the memory of the system
    wall, cpu = time.perf_counter(), time.process_time()
    segtricks(words)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"evaluate, {os.cpu_count()} threads: {wall:.1f} s ({cpu:.1f} s of CPU)")
    try:
        import cv2
        import py_sod_metrics as sod
    except ImportError:
        print("pysodmetrics is not installed: no comparison")
        return
    warnings.simplefilter("ignore")
    judges = [sod.Fmeasure(), sod.MAE(), sod.Smeasure(), sod.Emeasure(), sod.WeightedFmeasure()]
    other = time.perf_counter()
    for prediction in sorted(predictions.iterdir()):
        target = targets / prediction.name
        pred, mask = cv2.imread(str(prediction), 0), cv2.imread(str(target), 0)
        for judge in judges:
            judge.step(pred=pred, gt=mask)
    other = time.perf_counter() - other
    print(f"pysodmetrics: {other:.1f} s, {other / wall:.1f} times as long")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--predictions", type=Path)
    parser.add_argument("--targets", type=Path)
    options = parser.parse_args()
    maximum_f()
    if options.predictions and options.targets:
        folders(options.predictions, options.targets)
