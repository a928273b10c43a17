"""A training step of MaskContrast against a plain one, and the peak memory of its evaluation, in one run.

    OMP_NUM_THREADS=1 python experiments/speed_maskcontrast/run.py

The plain step is written here from the paper's recipe: both networks see their views in full, every pixel of the input
has an embedding, and a dense matrix holds its logits. Random weights; sides alternate; medians of the seconds in which
this process had the processor. Memory is that of processes of their own. Writes ``steps.csv`` and ``memory.csv``.
"""

import argparse
import copy
import csv
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, interpolate, normalize
from tqdm import tqdm

from segtricks.methods import MaskContrast
from segtricks.scoring.evaluator import Target
from segtricks.scoring.semantic import Embedded, SemanticEvaluator

HERE = Path(__file__).parent
BACKBONE, SIDE, BATCH, QUEUE, CELLS = "dinov2_vits14", 112, 16, 32, 2
IMAGES = (50, 200, 1000)


class Plain(nn.Module):
    """Query and key network, both whole, and the losses over all pixels."""

    def __init__(self, module: MaskContrast) -> None:
        super().__init__()
        self.query = nn.Sequential(copy.deepcopy(module.backbone), copy.deepcopy(module.head))
        self.key = copy.deepcopy(self.query).requires_grad_(False)
        self.entries = module.queue.entries.clone()
        self.temperature, self.momentum = module.temperature, module.momentum

    def loss(self, images: Tensor, masks: Tensor) -> Tensor:
        query, key = images.chunk(2)
        query_mask, key_mask = masks.chunk(2)
        output = self.query(query)
        pixels = normalize(self._enlarged(output.embedding), dim=1)
        inside = query_mask[:, 0] > 0
        with torch.no_grad():
            for own, theirs in zip(self.key.parameters(), self.query.parameters(), strict=True):
                own.mul_(self.momentum).add_(theirs, alpha=1 - self.momentum)
            keys = normalize(self._enlarged(self.key(key).embedding), dim=1)
            prototypes = normalize((keys * key_mask).sum((2, 3)), dim=1)
        candidates = torch.cat([prototypes, self.entries])
        logits = pixels.permute(0, 2, 3, 1).reshape(-1, pixels.shape[1]) @ candidates.T / self.temperature
        labels = torch.arange(len(query))[:, None, None].expand(inside.shape)
        counts = inside.sum((1, 2))
        weights = torch.cat([1 / torch.log(1.02 + counts / counts.sum()), torch.ones(len(self.entries))])
        contrast = cross_entropy(logits[inside.flatten()], labels[inside], weights)
        return contrast + self._saliency(self._enlarged(output.saliency), query_mask)

    def _saliency(self, logits: Tensor, masks: Tensor) -> Tensor:
        background = 1 - masks.mean()
        weights = torch.where(masks > 0, background, 1 - background)
        return binary_cross_entropy_with_logits(logits, masks, weights)

    def _enlarged(self, grid: Tensor) -> Tensor:
        return interpolate(grid, (SIDE, SIDE), mode="bilinear", align_corners=False)


def drawn_masks(count: int) -> Tensor:
    """Boxes (count, 1, SIDE, SIDE) of 0 and 1."""
    masks = torch.zeros(count, 1, SIDE, SIDE)
    for mask in masks[:, 0]:
        top, left = torch.randint(SIDE // 2, (2,)).tolist()
        mask[top : top + SIDE // 2, left : left + SIDE // 2] = 1
    return masks


def steps(repeat: int) -> list[dict[str, object]]:
    torch.manual_seed(0)
    module = MaskContrast(BACKBONE, pretrained=False, freeze="frozen", queue=QUEUE)
    plain = Plain(module)
    images, masks = torch.randn(2 * BATCH, 3, SIDE, SIDE), drawn_masks(2 * BATCH)
    side = SIDE // module.backbone.patch_size * CELLS
    small = interpolate(masks, (side, side), mode="nearest-exact")
    ours = torch.optim.AdamW(module.head.parameters(), 1e-3)
    theirs = torch.optim.AdamW(plain.query[1].parameters(), 1e-3)
    difference = sum(module.losses(images, masks)[0].values()) - plain.loss(images, masks)
    print(f"difference of the losses on the same pixels: {difference.item():.1e}")

    def step(optimizer: torch.optim.Optimizer, loss: Callable[[], Tensor]) -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    def of_ours(masks: Tensor, bf16: bool) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            terms, _, _ = module.losses(images, masks)
        return terms["contrast"] + terms["saliency"]

    sides = {
        "plain": partial(step, theirs, partial(plain.loss, images, masks)),
        "ours, losses on pixels": partial(step, ours, partial(of_ours, masks, False)),
        "ours, losses on cells": partial(step, ours, partial(of_ours, small, False)),
        "ours, losses on cells, bfloat16": partial(step, ours, partial(of_ours, small, True)),
    }
    times: dict[str, list[float]] = {name: [] for name in sides}
    for round_ in tqdm(range(1 + repeat), desc="rounds"):
        for name, call in sides.items():
            start = time.process_time()
            call()
            if round_:  # the first one warms up
                times[name].append(time.process_time() - start)
    first = statistics.median(times["plain"])
    return [
        {
            "step": name,
            "threads": torch.get_num_threads(),
            "ms": f"{statistics.median(seconds) * 1000:.0f}",
            "times_as_fast": f"{first / statistics.median(seconds):.2f}",
        }
        for name, seconds in times.items()
    ]


def evaluate(count: int) -> None:
    """Score so many images of drawn embeddings; print the resident memory before, and the highest one."""
    generator = torch.Generator().manual_seed(0)
    evaluator = SemanticEvaluator("drawn", images=count)
    before = 0
    for number in range(count):
        labels = torch.zeros(1, 375, 500, dtype=torch.int64)
        labels[:, 100:300, 100:400] = 1 + number % 20
        saliency = interpolate((labels > 0)[None].float(), (512, 512))[0] * 4 - 2
        features = torch.randn(32, 37, 37, generator=generator)
        features[number % 20] += 2
        evaluator.add(Target(f"{number:04}", labels=labels), {"mask": Embedded(features, saliency)})
        if number == 0:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    evaluator.result()
    print(before // 1024, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


def memory() -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for count in IMAGES:
        words = [sys.executable, __file__, "--evaluate", str(count)]
        before, highest = subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()[-2:]
        rows.append({"images": count, "mib_after_the_first_image": before, "mib_highest": highest})
        print(rows[-1], flush=True)
    return rows


def write(rows: list[dict[str, object]], path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(*rows, sep="\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--evaluate", type=int, help="measure the evaluation of so many images in this process")
    options = parser.parse_args()
    if options.evaluate:
        evaluate(options.evaluate)
        return
    write(memory(), HERE / "memory.csv")
    write(steps(options.repeat), HERE / "steps.csv")


if __name__ == "__main__":
    main()
