"""Does the fast step train as the plain one? Loss curves on real photographs, and the spread of two seeds.

    python experiments/speed/curve.py --images PHOTOS

`descriptor` features, photographs squeezed to 96 x 96, batches of 4, 60 steps. A seed decides the head's first weights
and the crops; the photographs come in the same order. Writes curve.csv and curve.png.
"""

import argparse
import csv
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from reference import sempart_and_reference
from torch import Tensor
from torch.nn.functional import interpolate
from tqdm import trange

from segtricks.data import find_images
from segtricks.data.images import read_image
from segtricks.data.transforms import to_input

HERE = Path(__file__).parent
SIZE, BATCH, LR = 96, 4, 1e-3


def losses(images: Tensor, steps: int, seed: int, precision: str | None) -> list[float]:
    """The loss of every step: of the plain one if no precision is given."""
    module, plain = sempart_and_reference("descriptor", seed)
    optimizer = torch.optim.AdamW((plain if precision is None else module).head.parameters(), lr=LR, weight_decay=0.0)
    curve = []
    for step in trange(steps, desc=f"{precision or 'reference'}, seed {seed}"):
        batch = images[torch.arange(step * BATCH, (step + 1) * BATCH) % len(images)]
        generator = torch.Generator().manual_seed(1000 * seed + step)
        optimizer.zero_grad()
        if precision is None:
            loss = plain.loss(batch, generator)
        else:
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                loss = module.total(module.loss_terms(batch, generator)[0])
        loss.backward()
        optimizer.step()
        curve.append(loss.item())
    return curve


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", required=True, help="folder of photographs; the first 80 are taken")
    parser.add_argument("--steps", type=int, default=60)
    options = parser.parse_args()
    photos = [read_image(path)[None] for path in find_images(options.images)[:80]]
    squeezed = [interpolate(photo, (SIZE, SIZE), mode="bilinear", antialias=True) for photo in photos]
    images = to_input(torch.cat(squeezed))
    curves = {
        "reference, seed 0": losses(images, options.steps, 0, None),
        "reference, seed 1": losses(images, options.steps, 1, None),
        "step in float32, seed 0": losses(images, options.steps, 0, "fp32"),
        "step in bfloat16, seed 0": losses(images, options.steps, 0, "bf16"),
    }
    first, *others = (np.array(curve) for curve in curves.values())
    for name, other in zip(list(curves)[1:], others, strict=True):
        apart = np.abs(other - first)
        print(f"{name}: {apart.mean():.5f} from the reference of seed 0 on average, {apart.max():.5f} at most")
    with (HERE / "curve.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["step", *curves])
        writer.writerows(
            [i, *(f"{value:.6f}" for value in row)] for i, row in enumerate(zip(*curves.values(), strict=True))
        )
    figure, axis = plt.subplots(figsize=(5, 3), layout="constrained")
    looks = ({"color": "black"}, {"color": "0.7"}, {"linestyle": "--"}, {"linestyle": ":"})
    for (name, curve), look in zip(curves.items(), looks, strict=True):
        axis.plot(curve, label=name, **look)
    axis.set(xlabel="step", ylabel="loss")
    axis.legend(frameon=False, fontsize=8)
    figure.savefig(HERE / "curve.png", dpi=110)


if __name__ == "__main__":
    main()
