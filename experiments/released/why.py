"""Does the objective want the object? The normalized cut of true masks and of the released head's, on the same graphs.

    python experiments/released/why.py --root DATA

writes ``why.csv``: for the last 80 of 400 photographs of ECSSD at 336 pixels, the cut of the true mask on the patches
(soft at its borders), that of the head's coarse mask, and the IoU of the two.
"""

import argparse
import csv
from pathlib import Path

import torch
from torch.nn.functional import interpolate
from tqdm import tqdm

import segtricks
from segtricks.data.datasets.registry import open_dataset
from segtricks.data.transforms import fit_short_side, to_input
from segtricks.losses import normalized_cut_loss


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default="data", help="folder that holds ECSSD")
    options = parser.parse_args()
    module, rows = segtricks.load_released(), []
    for sample in tqdm(open_dataset("ecssd[320:]", options.root)):
        image = to_input(fit_short_side(sample["image"], module.input_size, module.backbone.patch_size))[None]
        features = module.backbone(image)
        coarse = module.sign.orient(module.head.encode(features)[1].sigmoid())
        truth = interpolate((sample["target"][None] >= 128).float(), size=coarse.shape[-2:], mode="area")
        cuts = [float(normalized_cut_loss(features, mask, module.affinity_threshold)) for mask in (truth, coarse)]
        inside, object_ = coarse > 0.5, truth > 0.5
        iou = float((inside & object_).sum() / (inside | object_).sum().clamp(min=1))
        rows.append([Path(sample["path"]).name, *(f"{value:.4f}" for value in (*cuts, iou))])
    with Path(__file__).with_name("why.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([["image", "cut_true_mask", "cut_head", "iou"], *rows])
    lower = sum(float(row[2]) < float(row[1]) for row in rows)
    means = [sum(float(row[i]) for row in rows) / len(rows) for i in (1, 2, 3)]
    print(f"cut of the true masks {means[0]:.3f}, of the head's {means[1]:.3f}; lower on {lower} of {len(rows)}")


if __name__ == "__main__":
    main()
