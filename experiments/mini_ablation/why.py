"""Why the tricks do little in the miniature: objective, filter and crop, each looked at alone; writes why.csv.

    OMP_NUM_THREADS=1 python experiments/mini_ablation/why.py --root DATA --runs runs/mini_ablation

Reads the trained runs of ``segtricks experiment mini_ablation`` and trains nothing. 80 photographs of ECSSD, 96 pixels.
"""

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from segtricks.data import open_dataset
from segtricks.data.transforms import EvalTransform, TrainTransform, denormalize
from segtricks.discovery import tokencut
from segtricks.losses import feature_tv_loss, image_tv_loss, normalized_cut_loss, self_consistency_loss
from segtricks.methods import Sempart
from segtricks.metrics import MaskIoU
from segtricks.refine import guided_filter

HERE = Path(__file__).parent
COLUMNS = ("question", "case", "setting", "quantity", "value")
SIZE = 96
Row = tuple[str, str, str, str, float]


def load(run: Path, backbone: str, crop: bool = False) -> Sempart:
    """The model of a trained run."""
    model = Sempart(backbone, crop=crop)
    (checkpoint,) = run.glob("checkpoints/best.ckpt")
    model.load_state_dict(torch.load(checkpoint, weights_only=True)["state_dict"])
    return model.eval()


def ellipse(height: int, width: int) -> Tensor:
    """The floor that looks at no pixel, (1, 1, H, W)."""
    y, x = ((torch.arange(side) + 0.5) / side * 2 - 1 for side in (height, width))
    return (y[:, None].square() + x.square() < 0.45).float()[None, None]


def smaller_side(mask: Tensor) -> Tensor:
    return 1 - mask if mask.mean() > 0.5 else mask


@torch.no_grad()
def objective(root: str, runs: Path) -> Iterator[Row]:
    """The training objective of the true mask, of masks that look at no pixel, and of what was found."""
    dataset = open_dataset("ecssd[320:]", root)
    for backbone in ("descriptor", "descriptor4"):
        model = load(runs / f"sempart-{backbone}-s0", backbone)
        patch = model.backbone.patch_size
        for tau in (0.2, 0.4, 0.6, 0.8):
            terms: dict[str, list[float]] = {}
            totals: dict[str, list[float]] = {}
            ious: dict[str, MaskIoU] = {}
            for i in range(len(dataset)):
                sample = dataset[i]
                image, truth = EvalTransform(SIZE, patch)(sample["image"])[None], sample["mask"][None]  # type: ignore[index]
                features = model.backbone(image)
                cut = tokencut(features, tau=tau).mask.float()
                small = interpolate(truth.float() / 255, size=image.shape[-2:], mode="bilinear", antialias=True)
                output = model(image)
                candidates = {
                    "true mask": (avg_pool2d(small, patch), small),
                    "centred ellipse": (avg_pool2d(e := ellipse(*image.shape[-2:]), patch), e),
                    "TokenCut": (cut, interpolate(cut, size=image.shape[-2:], mode="bilinear")),
                    "Sempart, trained": (output.coarse.sigmoid(), output.fine.sigmoid()),
                }
                for name, (coarse, fine) in candidates.items():
                    ncut = normalized_cut_loss(features, coarse, tau)
                    variation = image_tv_loss(image, fine) + feature_tv_loss(features, coarse, tau)
                    terms.setdefault(name, []).append(float(ncut))
                    totals.setdefault(name, []).append(float(ncut + variation + self_consistency_loss(coarse, fine)))
                    full = interpolate(smaller_side(fine), size=truth.shape[-2:], mode="bilinear")
                    ious.setdefault(name, MaskIoU()).update(full, truth)
            for name in terms:
                where = ("objective", f"{backbone}, {name}", f"tau {tau}")
                lower = [total < true for total, true in zip(totals[name], totals["true mask"], strict=True)]
                yield *where, "normalized cut", sum(terms[name]) / len(terms[name])
                yield *where, "objective", sum(totals[name]) / len(totals[name])
                yield *where, "share of images below the true mask's objective", sum(lower) / len(lower)
                yield *where, "iou", float(ious[name].compute())


@torch.no_grad()
def filtering(root: str, runs: Path) -> Iterator[Row]:
    """IoU by radius of the guided filter: of the true mask averaged over patches, and of a trained run's masks."""
    dataset = open_dataset("ecssd[320:]", root)
    model = load(runs / "sempart-descriptor-s0", "descriptor")
    for size in (SIZE, 320):
        cases = {"true mask averaged over patches": {}, "true mask, one patch off": {}}
        if size == SIZE:
            cases["Sempart, trained"] = {}
        radii = sorted({0, *(max(1, round(size * share)) for share in (0.01, 0.03, 0.06, 0.1, 0.2))})
        for i in range(len(dataset)):
            sample = dataset[i]
            image, truth = EvalTransform(size, 8)(sample["image"])[None], sample["mask"][None]  # type: ignore[index]
            small = interpolate(truth.float() / 255, size=image.shape[-2:], mode="bilinear", antialias=True)
            coarse = avg_pool2d(small, 8)
            masks = {
                "true mask averaged over patches": interpolate(coarse, size=image.shape[-2:], mode="bilinear"),
                "true mask, one patch off": interpolate(coarse.roll(1, 3), size=image.shape[-2:], mode="bilinear"),
                "Sempart, trained": smaller_side(model.soft_masks(image)) if size == SIZE else None,
            }
            for case, scores in cases.items():
                for radius in radii:
                    mask = masks[case]
                    mask = guided_filter(mask, denormalize(image), radius) if radius else mask
                    full = interpolate(mask, size=truth.shape[-2:], mode="bilinear")
                    scores.setdefault(radius, MaskIoU()).update(full, truth)
        for case, scores in cases.items():
            for radius, score in scores.items():
                yield "guided filter", case, f"{size} pixels, radius {radius}", "iou", float(score.compute())


def crops(root: str, runs: Path) -> Iterator[Row]:
    """What the two terms of the crop weigh in the gradient of the head, on training images."""
    dataset = open_dataset("ecssd[:320]", root)
    transform = TrainTransform(SIZE)
    for backbone in ("descriptor", "descriptor4"):
        for when, run in (("before training", None), ("after training", runs / f"sempart-{backbone}-tricks-s0")):
            torch.manual_seed(0)
            model = Sempart(backbone) if run is None else load(run, backbone, crop=True)
            model.train()
            sums: dict[str, list[float]] = {}
            for start in range(0, 64, 8):
                generator = torch.Generator().manual_seed(start)
                images = torch.stack([transform(dataset.read_image(i), generator) for i in range(start, start + 8)])
                terms, _ = model.loss_terms(images, torch.Generator().manual_seed(start))
                values = {name: float(term.detach()) for name, term in terms.items()}
                groups = {"crop": ("consistency", "ncut_crop"), "rest": ()}
                groups["rest"] = tuple(name for name in terms if name not in groups["crop"])
                for group, names in groups.items():
                    loss = model.total({name: terms[name] for name in names})
                    gradients = torch.autograd.grad(
                        loss, list(model.head.parameters()), retain_graph=True, allow_unused=True
                    )
                    norm = torch.stack([g.norm() for g in gradients if g is not None]).norm()
                    values[f"gradient of {group}"] = float(norm)
                for name, value in values.items():
                    sums.setdefault(name, []).append(value)
            means = {name: sum(values) / len(values) for name, values in sums.items()}
            means["gradient of crop / rest"] = means["gradient of crop"] / means["gradient of rest"]
            for name, value in means.items():
                yield "crop", backbone, when, name, value


def main() -> None:
    """Look at all three."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, help="folder that holds ECSSD")
    parser.add_argument("--runs", required=True, type=Path, help="runs/mini_ablation")
    options: Any = parser.parse_args()
    with (HERE / "why.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for question in (filtering, crops, objective):
            for row in question(options.root, options.runs):
                print(*row, sep="\t", flush=True)
                writer.writerow([*row[:-1], f"{row[-1]:.4f}"])


if __name__ == "__main__":
    main()
