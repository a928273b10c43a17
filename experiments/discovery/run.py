"""Score the training-free methods with and without refinement beside masks that look at no pixel; write results.csv.

    python experiments/discovery/run.py --root DATA --work FOLDER

The photographs of ECSSD, VOC 2012 and COCO that lie in DATA: masks are scored on the first, boxes on the others (all
objects but COCO's crowds). Of ECSSD all count, although the descriptor backbone was tuned on the odd-indexed ones; the
column for the even-indexed ones is the fair one. Masks come from ``segtricks discover`` and stay in
FOLDER; what is there is not made again. FOUND is not among the rows: its first step needs a ViT's attention, its head
a ViT's keys, and the descriptor has neither.
"""

import argparse
import csv
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from segtricks.cli import main as segtricks
from segtricks.data import find_images
from segtricks.data.boxes import read_boxes
from segtricks.data.images import read_mask
from segtricks.metrics import CorLoc, MaskIoU, MaxFBeta, PixelAccuracy

HERE = Path(__file__).parent
METHODS = ("tokencut", "lost", "deep_spectral")
REFINERS = {
    "none": [],
    "guided filter": ["--refine", "guided_filter"],
    "bilateral solver 24/4/4": ["--refine", "bilateral_solver", "--bilateral_preset", "two-tricks"],
    "bilateral solver 16/16/8": ["--refine", "bilateral_solver", "--bilateral_preset", "tokencut"],
}
COLUMNS = ["method", "refined by", "ecssd_images", "acc", "iou", "max_fbeta", "iou_even_indexed"]
COLUMNS += ["voc_images", "voc_corloc", "coco_images", "coco_corloc"]
Masks = Callable[[str, tuple[int, int]], Tensor]  # name and size of a photograph to a mask (1, H, W) in [0, 1]


def copy_photos(paths: list[Path], folder: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for path in paths:
        if not (folder / path.name).is_file():
            shutil.copyfile(path, folder / path.name)
    return find_images(folder)


def ellipse(name: str, size: tuple[int, int]) -> Tensor:
    y, x = ((torch.arange(side) + 0.5) / side * 2 - 1 for side in size)
    return (y[:, None].square() + x.square() < 0.45).float()[None]


def everything(name: str, size: tuple[int, int]) -> Tensor:
    return torch.ones(1, *size)


def discovered(folder: Path) -> Masks:
    return lambda name, size: read_mask(folder / "soft" / f"{Path(name).stem}.png").float() / 255


def rows(work: Path, data: dict[str, list[Path]], words: list[str]) -> Iterator[tuple[str, str, dict[str, Masks]]]:
    """Each row's method, refiner, and its masks of every data set."""
    for name, mask in (("everything foreground", everything), ("centred ellipse", ellipse)):
        yield name, "", dict.fromkeys(data, mask)
    for method in METHODS:
        for refiner, options in REFINERS.items():
            masks = {}
            for dataset, photos in data.items():
                output = work / f"{dataset}-{method}-{refiner.replace(' ', '_').replace('/', '-')}"
                command = ["discover", "--images", str(photos[0].parent), "--output", str(output), "--method", method]
                if segtricks([*command, *words, *options]):
                    raise SystemExit(1)
                masks[dataset] = discovered(output)
            yield method, refiner, masks


def main() -> None:
    """Run everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, type=Path, help="folder that holds ECSSD and VOCdevkit")
    parser.add_argument("--work", required=True, type=Path, help="folder for copies of the photographs and for masks")
    parser.add_argument("--backbone", default="descriptor")
    parser.add_argument("--size", default="160")
    options = parser.parse_args()
    folders = {
        "ecssd": options.root / "ECSSD" / "images",
        "voc": options.root / "VOCdevkit" / "VOC2012" / "JPEGImages",
        "coco": options.root / "coco" / "images",
    }
    data = {name: copy_photos(find_images(folder), options.work / f"photos-{name}") for name, folder in folders.items()}
    masks_folder = folders["ecssd"].parent / "ground_truth_mask"
    targets = [read_mask(masks_folder / f"{path.stem}.png")[None] for path in data["ecssd"]]
    (coco,) = (options.root / "coco" / "annotations").glob("*.json")
    boxes = {"voc": read_boxes(folders["voc"].parent / "Annotations"), "coco": read_boxes(coco)}
    table = []
    for method, refiner, masks in rows(options.work, data, ["--backbone", options.backbone, "--size", options.size]):
        scores = {"acc": PixelAccuracy(), "iou": MaskIoU(), "max_fbeta": MaxFBeta(), "iou_even": MaskIoU()}
        for i, (path, target) in enumerate(zip(data["ecssd"], targets, strict=True)):
            mask = masks["ecssd"](path.name, tuple(target.shape[2:]))[None]
            for name, score in scores.items():
                if i % 2 == 0 or name != "iou_even":
                    score.update(mask, target)
        row = [method, refiner, len(targets), *(f"{float(score.compute()):.4f}" for score in scores.values())]
        for name, truth in boxes.items():
            corloc = CorLoc("largest_area")
            for path in data[name]:
                image = truth.get(path.stem)
                if image is not None and len(image.boxes):
                    corloc.update(masks[name](path.name, image.size)[None], [image.boxes])
            row += [int(corloc.images), f"{float(corloc.compute()):.4f}"]
        table.append(row)
        print(*row, sep="\t", flush=True)
    with (HERE / "results.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(table)


if __name__ == "__main__":
    main()
