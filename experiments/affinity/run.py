"""Which features, layer and threshold make a good graph: IoU of what is cut out of ECSSD's photographs.

    python experiments/affinity/run.py --root DATA --size 168

writes ``results-168.csv``, a row for each method, feature, layer and threshold. Methods: TokenCut, LOST and Deep
Spectral as they are, and ``cut``, what the loss of Sempart asks for on each photograph alone: the second eigenvector
split where the normalized cut is least, turned over where it covers the border. Nothing is trained, no label is used
but for the IoU.
"""

import argparse
import csv
from collections import defaultdict
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import interpolate, normalize
from tqdm import tqdm

from segtricks.backbones import create_backbone
from segtricks.data.datasets.registry import open_dataset
from segtricks.data.transforms import fit_short_side, to_input
from segtricks.discovery import deep_spectral, lost, smallest_eigenvectors, tokencut
from segtricks.losses import measure_graph
from segtricks.metrics import apply_polarity

TAUS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
SHARES = (0.3, 0.4, 0.5, 0.6, 0.7)
SPECS: tuple[float | str, ...] = (*TAUS, *(f"share:{share}" for share in SHARES))
FEATURES = ("key", "query", "value", "token")


def best_cut(features: Tensor, tau: float | str) -> Tensor:
    """Mask (1, 1, h, w) of 0 and 1: the split of the second eigenvector whose normalized cut is least."""
    _, _, height, width = features.shape
    unit = normalize(features.flatten(2), dim=1)
    weights = torch.where(unit.mT @ unit > measure_graph([features[0]], tau).tau, 1.0, 1e-6)[0].double()
    spectrum = smallest_eigenvectors(weights[None], 2)
    mask = torch.zeros(height * width)
    if not spectrum.flat:
        order = spectrum.vectors[0, :, 1].argsort()
        ordered = weights[order][:, order]
        volume = ordered.sum(1).cumsum(0)
        within = (2 * ordered.tril(-1).sum(1) + ordered.diagonal()).cumsum(0)
        cut = (volume - within)[:-1]
        value = cut / volume[:-1] + cut / (volume[-1] - volume[:-1])
        mask[order[: int(value.argmin()) + 1]] = 1
    return apply_polarity(mask.view(1, 1, height, width), "border")


METHODS = {
    "tokencut": lambda features, tau: tokencut(features, tau).mask,
    "cut": best_cut,
    "lost": lambda features, tau: lost(features, tau=tau).mask,
    "deep_spectral": lambda features, tau: deep_spectral(features, tau=tau).mask,
}


def iou(mask: Tensor, target: Tensor) -> float:
    found = interpolate(mask, size=target.shape[-2:], mode="bilinear")[0, 0] > 0.5
    truth = target[0] >= 128
    return float((found & truth).sum() / (found | truth).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default="data", help="folder that holds ECSSD")
    parser.add_argument("--data", default="ecssd", help="data set with masks")
    parser.add_argument("--backbone", default="dinov2_vits14")
    parser.add_argument("--checkpoint", help="file with its weights")
    parser.add_argument("--size", type=int, default=168, help="short side in pixels")
    parser.add_argument("--layers", type=int, nargs="+", default=[-1, -2])
    parser.add_argument("--features", nargs="+", default=FEATURES)
    parser.add_argument("--specs", nargs="+", default=SPECS, help="thresholds: cosines, or share:X")
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    dataset = open_dataset(options.data, options.root)
    rows = []
    for layer in options.layers:
        for feature in options.features:
            rows += measure(dataset, feature, layer, options)
            write(options.output or Path(__file__).with_name(f"results-{options.size}.csv"), rows)


@torch.no_grad()
def measure(dataset, feature: str, layer: int, options: argparse.Namespace) -> list[dict]:
    backbone = create_backbone(options.backbone, checkpoint=options.checkpoint, feature=feature, layer=layer)
    found: dict = defaultdict(list)
    empty: dict = defaultdict(int)
    graphs: dict = defaultdict(list)
    for sample in tqdm(dataset, desc=f"{feature} {layer}", total=len(dataset)):
        image = to_input(fit_short_side(sample["image"], options.size, backbone.patch_size))
        features = backbone(image[None]).float()
        for spec in options.specs:
            tau = spec if str(spec).startswith("share") else float(spec)
            graphs[spec].append(measure_graph([features[0]], tau))
            for method in options.methods:
                mask = METHODS[method](features, tau)
                found[method, spec].append(iou(mask, sample["target"]))
                empty[method, spec] += int(not mask.any())
    return [
        {
            "backbone": options.backbone, "weights": backbone.weights, "size": options.size, "images": len(scores),
            "method": method, "layer": layer, "feature": feature, "threshold": spec,
            "mean_tau": f"{sum(graph.tau for graph in graphs[spec]) / len(scores):.3f}",
            "mean_share": f"{sum(graph.share for graph in graphs[spec]) / len(scores):.3f}",
            "iou": f"{sum(scores) / len(scores):.4f}", "empty": empty[method, spec],
        }
        for (method, spec), scores in found.items()
    ]  # fmt: skip


def write(path: Path, rows: list[dict]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
