"""Score the training-free methods with and without refinement beside masks that look at no pixel; write results.csv.

    python experiments/discovery/run.py --root DATA --work FOLDER [--methods found found_head]

The photographs of ECSSD, VOC 2012 and COCO that lie in DATA: masks are scored on the first, boxes on the others (all
objects but COCO's crowds). Of ECSSD all count, although the descriptor backbone was tuned on the odd-indexed ones; the
column for the even-indexed ones is the fair one. Masks come from ``segtricks discover`` and stay in
FOLDER; what is there is not made again. Rows of methods that are not named stay as they are in results.csv.

FOUND needs a ViT's attention, which the descriptor has not. Its rows are those of a ViT-S/8 with random weights,
written as a file in DINO's own format: they show that it runs. ``found`` is its first step; ``found_head`` is a head
trained on the odd-indexed photographs of ECSSD, scored without refinement only: 500 steps at 96 pixels in bfloat16,
15 minutes on a shared core that has its instructions.
"""

import argparse
import contextlib
import csv
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import timm
import torch
from torch import Tensor

from segtricks.cli import main as segtricks
from segtricks.data import find_images
from segtricks.data.boxes import read_boxes
from segtricks.data.images import read_mask
from segtricks.metrics import CorLoc, MaskIoU, MaxFBeta, PixelAccuracy

HERE = Path(__file__).parent
FLOORS = ("everything foreground", "centred ellipse")
METHODS = ("tokencut", "lost", "deep_spectral", "found", "found_head")
RANDOM_VIT = "random ViT-S/8: shows that it runs"
REFINERS = {
    "none": [],
    "guided filter": ["--refine", "guided_filter"],
    "bilateral solver 24/4/4": ["--refine", "bilateral_solver", "--bilateral_preset", "two-tricks"],
    "bilateral solver 16/16/8": ["--refine", "bilateral_solver", "--bilateral_preset", "tokencut"],
}
COLUMNS = ["method", "refined by", "backbone", "ecssd_images", "acc", "iou", "max_fbeta", "iou_even_indexed"]
COLUMNS += ["voc_images", "voc_corloc", "coco_images", "coco_corloc"]
Masks = Callable[[str, tuple[int, int]], Tensor]  # name and size of a photograph to a mask (1, H, W) in [0, 1]
Photos = dict[str, list[Path]]


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


def run(*words: str) -> None:
    if segtricks(list(words)):
        raise SystemExit(1)


def random_vit(work: Path) -> Path:
    """A ViT-S/8 of random weights, as DINO's authors wrote theirs."""
    path = work / "random_vits8.pth"
    if not path.is_file():
        torch.manual_seed(0)
        torch.save(timm.create_model("vit_small_patch8_224", num_classes=0).state_dict(), path)
    return path


def trained_head(work: Path, photos: list[Path], vit: Path) -> Path:
    """A head of FOUND for that ViT, in the published heads' form."""
    path, name = work / "found_head.pt", "found_head"
    if path.is_file():
        return path
    work = work.resolve()
    (work / "odd.txt").write_text("".join(f"{photo.resolve()}\n" for photo in photos[1::2]))
    words = ["--name", name, "--data.train", str(work / "odd.txt"), "--data.test", "[]", "--data.num_workers", "0"]
    words += ["--model.backbone_checkpoint", str(vit.resolve()), "--trainer.precision", "bf16-mixed"]
    words += ["--data.size", "96", "--data.resize", "96", "--data.batch_size", "8", "--trainer.accelerator", "cpu"]
    with contextlib.chdir(work):
        run("fit", "--config", "found", *words, *(["--resume"] if Path("runs", name).is_dir() else []))
        weights = torch.load(f"runs/{name}/checkpoints/last.ckpt", weights_only=True)["state_dict"]
        decoder = {part: weights[f"head.decoder.{part}"] for part in ("weight", "bias")}
        torch.save({"decoder": decoder}, path.name)
    return path


def options_of(method: str, backbone: str, work: Path, data: Photos) -> tuple[str, list[str]]:
    """The backbone in words, and the words of ``discover`` for a method."""
    if not method.startswith("found"):
        return backbone, ["--method", method, "--backbone", backbone]
    vit = random_vit(work)
    words = ["--method", "found", "--backbone", "dino_vits8", "--backbone_checkpoint", str(vit)]
    if method == "found_head":
        words += ["--head", str(trained_head(work, data["ecssd"], vit))]
    return RANDOM_VIT, words


def rows(methods: list[str], options: argparse.Namespace, data: Photos) -> Iterator[tuple[list[str], dict[str, Masks]]]:
    """Each row's method, refiner and backbone, and its masks of every data set."""
    for name, mask in zip(FLOORS, (everything, ellipse), strict=True):
        yield [name, "", ""], dict.fromkeys(data, mask)
    for method in methods:
        backbone, words = options_of(method, options.backbone, options.work, data)
        for refiner, refining in REFINERS.items():
            if method == "found_head" and refining:
                continue
            masks = {}
            for dataset, photos in data.items():
                output = options.work / f"{dataset}-{method}-{refiner.replace(' ', '_').replace('/', '-')}"
                folders = ["--images", str(photos[0].parent), "--output", str(output)]
                run("discover", *folders, *words, *refining, "--size", options.size)
                masks[dataset] = discovered(output)
            yield [method, refiner, backbone], masks


def save(table: list[list[str]]) -> None:
    """Write results.csv: these rows, and those that it holds of other methods and refiners, in the order above."""
    path = HERE / "results.csv"
    with path.open(newline="") as file:
        old = [[row.get(column, "") for column in COLUMNS] for row in csv.DictReader(file)]
    kept = {(row[0], row[1]): row for row in [*old, *table]}
    order = [(floor, "") for floor in FLOORS] + [(method, refiner) for method in METHODS for refiner in REFINERS]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(kept[place] for place in order if place in kept)


def main() -> None:
    """Make what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, type=Path, help="folder that holds ECSSD and VOCdevkit")
    parser.add_argument("--work", required=True, type=Path, help="folder for copies of the photographs and for masks")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--backbone", default="descriptor", help="of all but found and found_head")
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
    for row, masks in rows(options.methods, options, data):
        scores = {"acc": PixelAccuracy(), "iou": MaskIoU(), "max_fbeta": MaxFBeta(), "iou_even": MaskIoU()}
        for i, (path, target) in enumerate(zip(data["ecssd"], targets, strict=True)):
            mask = masks["ecssd"](path.name, (target.shape[2], target.shape[3]))[None]
            for name, score in scores.items():
                if i % 2 == 0 or name != "iou_even":
                    score.update(mask, target)
        row += [str(len(targets)), *(f"{float(score.compute()):.4f}" for score in scores.values())]
        for name, truth in boxes.items():
            corloc = CorLoc("largest_area")
            for path in data[name]:
                image = truth.get(path.stem)
                if image is not None and len(image.boxes):
                    corloc.update(masks[name](path.name, image.size)[None], [image.boxes])
            row += [str(int(corloc.images)), f"{float(corloc.compute()):.4f}"]
        save([row])
        print(*row, sep="\t", flush=True)


if __name__ == "__main__":
    main()
