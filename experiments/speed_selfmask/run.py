"""A SelfMask training step against a plain one, and photographs a second at prediction, in one run.

    OMP_NUM_THREADS=1 python experiments/speed_selfmask/run.py

The plain side follows the first code's recipe: attention by plain products, every mask of every layer enlarged to the
target before its Dice loss, float32, and rankings pair by pair. Both sides have the same random weights, batch and
optimiser, and alternate; figures are medians.
"""

import argparse
import copy
import csv
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from segtricks.methods import SelfMask

HERE = Path(__file__).parent
RECIPES = {
    "as published, ViT-S/8, 224 px": ({"backbone": "dino_vits8"}, 224),
    "head alone on ViT-S/16, 5 queries, 2 layers, 224 px": (
        {"backbone": "dino_vits16", "trained_blocks": 0, "num_queries": 5, "num_layers": 2},
        224,
    ),
}
"""Options of the method, and the side of the training images."""


def plain_loss(masks: Tensor, objectness: Tensor, target: Tensor) -> Tensor:
    """The objective of probabilities (B, L, Q, h, w) and (B, L, Q), term by term."""
    total = masks.new_zeros(())
    for image in range(len(masks)):
        for layer in range(masks.shape[1]):
            large = interpolate(masks[image, layer][None], target.shape[-2:], mode="bilinear")[0]
            costs = []
            for mask in large:
                shared = (mask * target[image, 0]).sum()
                costs.append(1 - (2 * shared + 1) / (mask.sum() + target[image, 0].sum() + 1))
            total = total + torch.stack(costs).sum()
            order = torch.stack(costs).detach().argsort(descending=True, stable=True).tolist()
            scores = objectness[image, layer]
            for place, worse in enumerate(order):
                for better in order[place + 1 :]:
                    total = total + (scores[worse] - scores[better]).relu()
    return total / len(masks)


def plain_twin(module: SelfMask) -> SelfMask:
    """The same network, whose attention is computed by plain products."""
    twin = copy.deepcopy(module)
    for part in twin.modules():
        if hasattr(part, "fused_attn"):
            part.fused_attn = False
        if isinstance(part, torch.nn.MultiheadAttention):
            part.forward = partial(_with_weights, part.forward)  # type: ignore[method-assign]
    return twin


def _with_weights(forward: Callable[..., object], *args: Tensor, need_weights: bool = False) -> object:
    return forward(*args, need_weights=True)


def step_of(module: SelfMask, plain: bool, images: Tensor, target: Tensor) -> Callable[[], float]:
    """One training step, which returns its loss."""
    optimizer = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], lr=6e-6, weight_decay=0.01)

    def step() -> float:
        optimizer.zero_grad()
        if plain:
            output = module(images)
            loss = plain_loss(output.masks.sigmoid(), output.objectness.sigmoid(), target)
        else:
            loss = module.losses(images, target)[0].total
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def timed(call: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    """Time everything and write results.csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", type=Path, default=HERE / "results.csv")
    options = parser.parse_args()
    rows: list[dict[str, object]] = []

    def note(what: str, side: str, seconds: float, ratio: float) -> None:
        row = {"what": what, "side": side, "threads": torch.get_num_threads(), "device": options.device}
        rows.append(row | {"seconds": f"{seconds:.3f}", "times_faster_than_plain": f"{ratio:.2f}"})
        print(*rows[-1].values(), sep="\t", flush=True)

    for name, (arguments, size) in RECIPES.items():
        torch.manual_seed(0)
        module = SelfMask(pretrained=False, **arguments).train().to(options.device)  # type: ignore[arg-type]
        images = torch.randn(options.batch, 3, size, size, device=options.device)
        target = torch.zeros(options.batch, 1, size, size, device=options.device)
        target[..., size // 4 : size // 2, size // 4 : size // 2] = 1
        steps = {"plain": step_of(plain_twin(module), True, images, target)}
        steps["ours"] = step_of(module, False, images, target)
        first = {side: step() for side, step in steps.items()}
        print(f"{name}: first losses {first['plain']:.5f} and {first['ours']:.5f}")
        times: dict[str, list[float]] = {side: [] for side in steps}
        for _ in range(options.repeat):
            for side, step in steps.items():
                times[side].append(timed(step))
        medians = {side: statistics.median(values) for side, values in times.items()}
        for side, seconds in medians.items():
            note(f"{name}: a step of {options.batch}", side, seconds, medians["plain"] / seconds)
        module.eval()
        photo = torch.randn(1, 3, 300, 400, device=options.device)
        with torch.inference_mode():
            seconds = statistics.median(timed(partial(module.soft_masks, photo)) for _ in range(options.repeat))
        note(f"{name}: a photograph of 400 x 300", "ours", seconds, float("nan"))
    with options.output.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
