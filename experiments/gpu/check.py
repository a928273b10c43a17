"""Run every command and method on a GPU, and those whose result a CPU gives too on both: do they agree?

    python experiments/gpu/check.py --images PHOTOS --masks MASKS [--device cuda] [--parallel 6] [--only NAME ...]

`MASKS` has a mask for each photograph. The weights of dinov2_vits14 must be at hand (`segtricks weights get
dinov2_vits14`); every other network has random weights. Each line is one command in a process of its own, whose output
is in `OUTPUT/logs`. Exits with 1 if one failed or a mask on the GPU is not that of the CPU.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from pycocotools import mask as rle
from torchvision.models import resnet50

FEW = ["--trainer.max_steps", "12", "--trainer.enable_progress_bar", "false"]
HALF = ["--trainer.precision", "bf16-mixed"]
DINOV2 = ["--model.backbone", "dinov2_vits14"]
SMALL = ["--data.size", "112", "--data.resize", "112", "--data.batch_size", "4"]
RESNET = "resnet50.pth"
LEAST_IOU = 0.97
"""Of a mask on the GPU with that on the CPU, on average: a soft mask near 0.5 may fall to either side."""


def trainings(photos: str, masks: str) -> dict[str, list[str]]:
    """Trainings by name; those after the first line need no other one."""
    data = ["--data.train", photos, "--test", "none", "--data.held_out", "2"]
    taught = [*data, "--data.masks", masks]
    tricks = ["--config", "sempart_tricks", *DINOV2, *SMALL, *data]
    u2seg = ["--model.num_things", "3", "--model.num_stuff", "2", "--model.labels.size", "168", *data]
    return {
        "quick": ["--config", "quick", *data, "--trainer.enable_progress_bar", "false"],
        "sempart": [*tricks, *FEW],
        "sempart-bf16": [*tricks, *HALF, *FEW],
        "sempart-compile": [*tricks, *HALF, "--model.compile", "true", *FEW],
        "sempart-ema": [*tricks, "--model.teacher", "ema", *FEW],
        "found": ["--config", "found", *DINOV2, *SMALL, *data, *FEW],
        "selfmask": ["--config", "selfmask", *DINOV2, *SMALL, *HALF, *taught, *FEW],
        "maskcontrast": [
            *("--config", "maskcontrast", "--model.backbone_checkpoint", RESNET, "--model.queue", "8"),
            *(*SMALL, *HALF, *taught, *FEW),
        ],
        "maskcontrast_vit": ["--config", "maskcontrast_vit", *SMALL, *HALF, *taught, "--model.queue", "8", *FEW],
        "stego": ["--config", "stego", *DINOV2, *SMALL, *HALF, "--data.neighbours", "3", *data, *FEW],
        "u2seg_small": ["--config", "u2seg_small", "--trainer.accelerator", "auto", *SMALL, *u2seg, *FEW],
        "u2seg": [
            *("--config", "u2seg", "--data.size", "256", "--data.resize", "256", "--data.batch_size", "4", *u2seg),
            *("--model.labels.backbone", "dinov2_vits14", "--model.labels.crop_size", "112", *FEW),
        ],
    }


def comparisons(photos: str) -> dict[str, list[str]]:
    """Commands that write masks, by name: they run on both devices."""
    found = ["discover", "--images", photos, "--size", "224", "--method"]
    return {
        "predict": ["predict", "--images", photos],
        "tokencut": [*found, "tokencut", "--backbone", "dinov2_vits14", "--refine", "bilateral_solver"],
        "lost": [*found, "lost", "--backbone", "dinov2_vits14"],
        "deep_spectral": [*found, "deep_spectral", "--backbone", "dinov2_vits14"],
        "found": [*found, "found", "--backbone", "dinov2_vits14", "--refine", "guided_filter"],
        "maskcut": [*found, "maskcut", "--backbone", "dinov2_vits14", "--refine", "dense_crf"],
        "spectral_voting": [*found, "spectral_voting", "--backbone", "dinov2_vits14"],
    }


def followers(photos: str, masks: str) -> dict[str, list[str]]:
    """What needs a run of `trainings`, or masks of `comparisons`."""
    test = ["--data", photos, "--data.masks", masks]
    labels = ["--data", photos, "--data.labels", "labels", "--model.semantic.num_classes", "2"]
    objects = ["--data", photos, "--data.masks", "maskcut-gpu"]
    return {
        "test quick": ["test", "--run", "runs/quick", *test],
        "test selfmask": ["test", "--run", "runs/selfmask", *test],
        "test tokencut": ["test", "--config", "tokencut", *DINOV2, "--data.size", "224", "--name", "tokencut", *test],
        "test maskcontrast": ["test", "--run", "runs/maskcontrast", *labels],
        "test maskcontrast_vit": ["test", "--run", "runs/maskcontrast_vit", *labels],
        "test stego": ["test", "--run", "runs/stego", *labels],
        "test u2seg_small": ["test", "--run", "runs/u2seg_small", *objects],
        "test u2seg": ["test", "--run", "runs/u2seg", *objects],
        "predict maskcontrast_vit": ["predict", "--run", "runs/maskcontrast_vit", "--images", photos, "--output", "m"],
        "predict stego": ["predict", "--run", "runs/stego", "--images", photos, "--output", "s"],
        "predict u2seg_small": ["predict", "--run", "runs/u2seg_small", "--images", photos, "--output", "u"],
        "cluster": ["cluster", "--images", photos, "--masks", "predict-gpu", "--k", "3", "--output", "c"],
        "classes": ["classes", "--images", photos, "--masks", "maskcut-gpu", "--k", "3", "--output", "d"],
        "resume": ["fit", "--resume", "--name", "sempart-bf16", "--trainer.max_steps", "20"],
        "export": ["export", "--run", "runs/quick", "--format", "torch", "--output", "model.pt2"],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--masks", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--parallel", type=int, default=6)
    parser.add_argument("--only", nargs="+", help="lines with these names alone")
    parser.add_argument("--output", type=Path, default=Path("gpu-check"))
    options = parser.parse_args()
    photos, masks = (str(path.resolve()) for path in (options.images, options.masks))
    (options.output / "logs").mkdir(parents=True, exist_ok=True)
    gpu = ["--trainer.accelerator", "cpu" if options.device == "cpu" else "auto"]
    first = {f"fit {name}": ["fit", "--name", name, *words] for name, words in trainings(photos, masks).items()}
    for name, words in comparisons(photos).items():
        first[f"{name} (GPU)"] = [*words, *gpu, "--output", f"{name}-gpu"]
        first[f"{name} (CPU)"] = [*words, "--trainer.accelerator", "cpu", "--output", f"{name}-cpu"]
    _write_labels(options.masks, options.output / "labels")
    torch.save(resnet50().state_dict(), options.output / RESNET)  # of random weights
    rows = []
    for jobs in (first, followers(photos, masks)):
        chosen = {name: words for name, words in jobs.items() if not options.only or name in options.only}
        rows += _run(chosen, options.output, options.parallel)
    for row in rows:
        name = row["name"].removesuffix(" (GPU)")
        if name != row["name"] and row["status"] == 0:
            row |= _agreement(options.output / f"{name}-gpu", options.output / f"{name}-cpu")
    _write(options.output / "check.csv", rows, options.device)
    bad = [row["name"] for row in rows if row["status"] or row.get("iou", 1) < LEAST_IOU]
    print(f"{len(rows) - len(bad)} of {len(rows)} lines passed" + (f"; not {', '.join(bad)}" if bad else ""))
    return 1 if bad else 0


def _write_labels(masks: Path, labels: Path) -> None:
    """Label maps of two classes."""
    labels.mkdir(exist_ok=True)
    for path in masks.glob("*.png"):
        Image.fromarray((np.asarray(Image.open(path).convert("L")) > 127).astype(np.uint8)).save(labels / path.name)


def _run(jobs: dict[str, list[str]], folder: Path, parallel: int) -> list[dict]:
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])}

    def run(name: str) -> dict:
        started = time.monotonic()
        with (folder / "logs" / f"{name}.txt").open("w") as log:
            words = [sys.executable, "-m", "segtricks", *jobs[name]]
            done = subprocess.run(words, cwd=folder, env=environment, stdout=log, stderr=log, check=False)
        row = {"name": name, "status": done.returncode, "seconds": round(time.monotonic() - started, 1)}
        print(row, flush=True)
        return row

    with ThreadPoolExecutor(parallel) as pool:
        return list(pool.map(run, jobs))


def _agreement(one: Path, other: Path) -> dict[str, float]:
    """Mean IoU of the binary masks, and the mean difference of the soft ones."""
    if (one / "entries").is_dir():
        return _agreement_of_stores(one, other)
    overlaps, differences = [], []
    for path in sorted((one / "binary").glob("*.png")):
        overlaps.append(_overlap(*(np.asarray(Image.open(folder / "binary" / path.name)) for folder in (one, other))))
        soft = [np.asarray(Image.open(folder / "soft" / path.name), float) / 255 for folder in (one, other)]
        differences.append(np.abs(soft[0] - soft[1]).mean())
    return {"iou": round(float(np.mean(overlaps)), 4), "difference": round(float(np.mean(differences)), 5)}


def _agreement_of_stores(one: Path, other: Path) -> dict[str, float]:
    """Mean IoU of the objects together in each photograph."""
    overlaps = []
    for path in sorted((one / "entries").glob("*.json")):
        stores = [json.loads((folder / "entries" / path.name).read_text()) for folder in (one, other)]
        overlaps.append(_overlap(*(sum(_drawn(store, mask) for mask in store["masks"]) for store in stores)))
    return {"iou": round(float(np.mean(overlaps)), 4)}


def _drawn(entry: dict, mask: dict) -> np.ndarray:
    return rle.decode({"size": [entry["height"], entry["width"]], "counts": mask["rle"]})


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    mine, theirs = np.asarray(one) > 0, np.asarray(other) > 0
    union = (mine | theirs).sum()
    return float((mine & theirs).sum() / union) if union else 1.0


def _write(path: Path, rows: list[dict], device: str) -> None:
    name = torch.cuda.get_device_name() if device != "cpu" else "CPU"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["name", "status", "seconds", "iou", "difference", "device", "torch"])
        writer.writeheader()
        writer.writerows(row | {"device": name, "torch": torch.__version__} for row in rows)


if __name__ == "__main__":
    sys.exit(main())
