"""Where the released head could stand, and why it stands where it does: two bounds, in minutes on one core.

    python experiments/released/ceiling.py --root DATA

writes ``ceiling.csv``. *Grid*: true masks (the last 80 of 400 of ECSSD), brought to the grid of patches and back:
no mask of patches can be better. *Coarse*: the coarse part of the head alone, trained by normalized cut and total
variation on the features of the first 320, without augmentation, fine mask or tricks, and read at several sizes:
what the objective finds with these features, whatever comes after it. IoU at full size, plain and filtered.
"""

import argparse
import csv
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import interpolate
from tqdm import tqdm

from segtricks.backbones import create_backbone
from segtricks.backbones.affinity import affinity_of
from segtricks.data.datasets.registry import open_dataset
from segtricks.data.images import read_image
from segtricks.data.transforms import CenterCropTransform, fit_short_side, to_input
from segtricks.heads import SempartHead
from segtricks.losses import feature_tv_loss, measure_graph, normalized_cut_loss
from segtricks.methods.foreground import ForegroundSign
from segtricks.refine import GuidedFilter

STEPS, BATCH, TRAINED_AT = 150, 12, 224
READ_AT = (224, 336, 448)
NAME = "dinov2_vits14"


class Scores:
    """Mean IoU of masks on grids, plain and filtered, against true masks of any size."""

    def __init__(self) -> None:
        self.plain: list[float] = []
        self.filtered: list[float] = []

    def add(self, mask: Tensor, photo: Tensor, target: Tensor) -> None:
        """Take a mask (1, 1, h, w), its photograph (3, H, W) at the network's size and the true mask (1, H', W')."""
        large = interpolate(mask, size=photo.shape[-2:], mode="bilinear")
        radius = round(9 * min(photo.shape[-2:]) / 320)
        filtered = GuidedFilter(radius=radius)(large, photo[None].float() / 255)
        for scores, found in ((self.plain, large), (self.filtered, filtered)):
            inside = interpolate(found, size=target.shape[-2:], mode="bilinear")[0] > 0.5
            truth = target >= 128
            scores.append(float((inside & truth).sum() / (inside | truth).sum()))

    def row(self) -> list[str]:
        return [f"{sum(scores) / len(scores):.4f}" for scores in (self.plain, self.filtered)]


def grid_bound(tests, size: int) -> Scores:
    scores = Scores()
    for sample in tests:
        photo = fit_short_side(sample["image"], size, 14)
        grid = [side // 14 for side in photo.shape[-2:]]
        cover = interpolate((sample["target"][None] >= 128).float(), size=grid, mode="area")
        scores.add((cover > 0.5).float(), photo, sample["target"])
    return scores


def train_coarse(features: Tensor, tau: float, seed: int) -> tuple[SempartHead, ForegroundSign]:
    torch.manual_seed(seed)
    head, sign = SempartHead(features.shape[1], 14), ForegroundSign()
    trained = [*head.project.parameters(), *head.transformer.parameters(), *head.coarse.parameters()]
    optimizer = torch.optim.AdamW(trained, lr=1e-3, betas=(0.9, 0.99), weight_decay=0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in tqdm(range(STEPS), desc=f"coarse, seed {seed}"):
        batch = features[torch.randint(len(features), (BATCH,))]
        mask = head.encode(batch)[1].sigmoid()
        sign.count(mask.detach())
        loss = normalized_cut_loss(batch, mask, tau) + feature_tv_loss(batch, mask, tau)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return head, sign


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default="data", help="folder that holds ECSSD")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    tests = open_dataset("ecssd[320:]", options.root)
    rows = [["grid", "", f"{size}", *grid_bound(tests, size).row()] for size in READ_AT]
    backbone = create_backbone(NAME, feature=affinity_of(NAME).feature)
    crop = CenterCropTransform(TRAINED_AT)
    photos = open_dataset("ecssd[:320]", options.root, require_masks=False).images
    features = torch.cat([backbone(to_input(crop(read_image(path)))[None]) for path in tqdm(photos, desc="features")])
    tau = measure_graph(list(features[::10]), affinity_of(NAME).tau).tau
    views = {size: [view(backbone, sample, size) for sample in tqdm(tests, desc=f"{size} px")] for size in READ_AT}
    for seed in options.seeds:
        with torch.enable_grad():
            head, sign = train_coarse(features, tau, seed)
        for size in READ_AT:
            scores = Scores()
            for features_of, photo, target in views[size]:
                scores.add(sign.orient(head.encode(features_of)[1].sigmoid()), photo, target)
            rows.append(["coarse", str(seed), str(size), *scores.row()])
            print(*rows[-1], flush=True)
    with Path(__file__).with_name("ceiling.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([["of", "seed", "size", "iou", "iou_filtered"], *rows])


def view(backbone, sample, size: int) -> tuple[Tensor, Tensor, Tensor]:
    photo = fit_short_side(sample["image"], size, 14)
    return backbone(to_input(photo)[None]), photo, sample["target"]


if __name__ == "__main__":
    main()
