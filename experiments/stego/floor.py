"""The floor of STEGO: k-means of the raw tokens of the same photographs, scored as `segtricks test` scores STEGO.

    python experiments/stego/floor.py --images PHOTOS --root DATA

Tokens of the middle square of each photograph, of unit length, in 27 clusters; each token of VOC 2012 val then takes
the nearest centre. Writes floor.csv.
"""

import argparse
import csv
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import normalize
from tqdm import tqdm

from segtricks.data import CenterCropTransform, fit_short_side, open_dataset, read_image, to_input
from segtricks.methods import Stego
from segtricks.methods.stego import largest_of
from segtricks.pseudo_labels import kmeans
from segtricks.scoring.evaluator import Target
from segtricks.scoring.label_maps import LabelMapEvaluator, LabelMapProtocol, Segmented

CLUSTERS, CLASSES = 27, 21
FIGURES = ("cluster_miou", "cluster_accuracy", "cluster_miou_majority", "cluster_miou_published")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--root", required=True)
    parser.add_argument("--backbone", default="dinov2_vits14")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    backbone = Stego(options.backbone, num_clusters=CLUSTERS).eval().backbone
    square = CenterCropTransform(224, 224)
    test = open_dataset("voc12-val", options.root).with_targets("labels")
    with torch.no_grad():
        photographs = tqdm(sorted(options.images.iterdir()), "tokens", disable=None)
        tokens = torch.cat([backbone(to_input(square(read_image(path)))[None]) for path in photographs])
        whole = (fit_short_side(test.read_image(i), 320, backbone.patch_size) for i in range(len(test)))
        seen = [normalize(backbone(to_input(image)[None])[0], dim=0) for image in whole]
    vectors = normalize(tokens.movedim(1, -1).flatten(0, 2), dim=1)
    with (Path(__file__).parent / "floor.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["seed", "images", *FIGURES], lineterminator="\n")
        writer.writeheader()
        for seed in options.seeds:
            centres = kmeans(vectors, CLUSTERS, iterations=20, seed=seed).centroids
            evaluator = LabelMapEvaluator("floor", LabelMapProtocol(CLASSES), CLUSTERS)
            for i, features in enumerate(seen):
                labels = test.read_labels(i)
                found = largest_of(_nearness(features, centres), tuple(labels.shape[-2:]))
                evaluator.add(Target(str(i), labels=labels), {"mask": Segmented(found)})
            metrics = evaluator.result().rows["mask"].metrics
            row = {"seed": seed, "images": len(test)} | {name: f"{metrics[name]:.4f}" for name in FIGURES}
            writer.writerow(row)
            print(row, flush=True)


def _nearness(features: Tensor, centres: Tensor) -> Tensor:
    """Features (D, h, w) and centres (K, D) to what is largest for the nearest centre, (K, h, w)."""
    return 2 * torch.einsum("chw,kc->khw", features, centres) - centres.square().sum(dim=1)[:, None, None]


if __name__ == "__main__":
    main()
