"""Score the training-free methods with and without refinement beside masks that look at no pixel; write results.csv.

    python experiments/discovery/run.py --root DATA --work FOLDER

60 photographs of ECSSD, the even-indexed ones from the first on (the descriptor backbone was tuned on odd-indexed
ones), and, for boxes, the photographs of VOC 2012 that lie in DATA. Masks come from ``segtricks discover`` and stay in
FOLDER; what is there is not made again. FOUND is not among the rows: its first step needs a ViT's attention, its head
a ViT's keys, and the descriptor has neither.
"""

import argparse
import csv
import shutil
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from segtricks.cli import main as segtricks
from segtricks.data import find_images
from segtricks.data.images import read_image, read_mask
from segtricks.metrics import CorLoc, MaskIoU, MaxFBeta, PixelAccuracy

HERE = Path(__file__).parent
METHODS = ("tokencut", "lost", "deep_spectral")
REFINERS = {
    "none": [],
    "guided filter": ["--refine", "guided_filter"],
    "bilateral solver 24/4/4": ["--refine", "bilateral_solver", "--bilateral_preset", "two-tricks"],
    "bilateral solver 16/16/8": ["--refine", "bilateral_solver", "--bilateral_preset", "tokencut"],
}
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


def voc_boxes(path: Path) -> Tensor:
    """Boxes of all objects that are not marked difficult, half-open pixels from 0."""
    boxes = []
    for thing in ElementTree.parse(path).getroot().iter("object"):
        box = thing.find("bndbox")
        if box is not None and thing.findtext("difficult", "0") == "0":
            left, top, right, bottom = (int(float(box.findtext(key, "0"))) for key in ("xmin", "ymin", "xmax", "ymax"))
            boxes.append([left - 1, top - 1, right, bottom])
    return torch.tensor(boxes).reshape(-1, 4)


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
    ecssd, voc = options.root / "ECSSD", options.root / "VOCdevkit" / "VOC2012"
    data = {
        "ecssd": copy_photos(find_images(ecssd / "images")[:120:2], options.work / "photos-ecssd"),
        "voc": copy_photos(find_images(voc / "JPEGImages"), options.work / "photos-voc"),
    }
    targets = [read_mask(ecssd / "ground_truth_mask" / f"{path.stem}.png")[None] for path in data["ecssd"]]
    boxes = [voc_boxes(voc / "Annotations" / f"{path.stem}.xml") for path in data["voc"]]
    sizes = [tuple(read_image(path).shape[1:]) for path in data["voc"]]
    table = []
    for method, refiner, masks in rows(options.work, data, ["--backbone", options.backbone, "--size", options.size]):
        scores = {"acc": PixelAccuracy(), "iou": MaskIoU(), "max_fbeta": MaxFBeta()}
        for path, target in zip(data["ecssd"], targets, strict=True):
            mask = masks["ecssd"](path.name, tuple(target.shape[2:]))[None]
            for score in scores.values():
                score.update(mask, target)
        corloc = CorLoc("largest_area")
        for path, size, truth in zip(data["voc"], sizes, boxes, strict=True):
            if len(truth):
                corloc.update(masks["voc"](path.name, size)[None], [truth])
        figures = [f"{float(score.compute()):.4f}" for score in (*scores.values(), corloc)]
        table.append([method, refiner, len(targets), *figures[:3], int(corloc.images), figures[3]])
        print(*table[-1], sep="\t", flush=True)
    with (HERE / "results.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["method", "refined by", "ecssd_images", "acc", "iou", "max_fbeta", "voc_images", "voc_corloc"])
        writer.writerows(table)


if __name__ == "__main__":
    main()
