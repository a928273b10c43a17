"""Score the masks of a store against a COCO file, without classes, next to the floors.

python score_masks.py --images PHOTOS --masks runs/u2seg-coco/masks --truth instances.json
"""

import argparse

import torch

from segtricks.data.datasets.registry import open_dataset
from segtricks.data.targets import WithTargets
from segtricks.pseudo_labels.merge import PanopticMap, PanopticPrediction
from segtricks.scoring.evaluator import Target
from segtricks.scoring.panoptic import PanopticEvaluator


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("images", "masks", "truth"):
        parser.add_argument(f"--{name}", required=True)
    options = parser.parse_args()
    photographs = open_dataset(options.images, "data", masks=options.truth)
    labels = WithTargets(photographs, options.masks)
    places = {path: place for place, path in enumerate(photographs.images)}
    evaluator = PanopticEvaluator("photographs", 1, 0)
    for index, path in enumerate(labels.images):
        found = labels.read_instances(index)
        found = found._replace(labels=torch.ones_like(found.labels))
        nothing = torch.zeros(found.masks.shape[1:], dtype=torch.int64)
        prediction = PanopticPrediction(found, PanopticMap(nothing, torch.zeros(0, dtype=torch.int64)), 1)
        truth = photographs.read_panoptic(places[path])
        evaluator.add(Target(str(path), panoptic=truth), {"mask": prediction})
    for row, score in evaluator.result().rows.items():
        print(row, {key: round(value, 4) for key, value in score.metrics.items()}, score.images, sep=", ")


if __name__ == "__main__":
    main()
