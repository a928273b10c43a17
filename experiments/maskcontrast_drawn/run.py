"""MaskContrast on drawn scenes whose kinds are known: does k-means on its embeddings find them?

    OMP_NUM_THREADS=1 python experiments/maskcontrast_drawn/run.py [--by hue]

draws 240 scenes, trains on 160 with their masks and without their kinds, tests on the 80 others, and writes
``results.csv`` from the result files of ``segtricks test``. No photograph and no weights are needed.
"""

import argparse
import contextlib
import csv
import json
import tempfile
from colorsys import hsv_to_rgb
from pathlib import Path

import numpy as np
from numpy.random import Generator, default_rng
from PIL import Image

from segtricks.cli import main as segtricks
from segtricks.data import SyntheticShapes

SIDE, TRAINED, TESTED = 128, 160, 80
KINDS = ("smooth", "stripes", "waves", "speckles")
CHOICES = ((32, 0.5), (3, 0.5), (3, 2.0))
"""Components and foreground of the scores: as published, and others."""
FIGURES = ("kmeans_miou", "kmeans_miou_std", "kmeans_miou_present", "kmeans_accuracy")


def surface(rng: Generator, texture: str) -> np.ndarray:
    """A surface (SIDE, SIDE, 3) in [0, 1] of a random colour with a texture."""
    y, x = np.mgrid[:SIDE, :SIDE]
    turn, start = rng.uniform(0, np.pi, 2)
    across = np.cos(turn) * x + np.sin(turn) * y
    textures = {
        "smooth": np.zeros((SIDE, SIDE, 3)),
        "stripes": 0.2 * np.sin(across * 2 * np.pi / 6 + start)[..., None],
        "waves": 0.2 * np.sin(across * 2 * np.pi / 20 + start)[..., None],
        "speckles": rng.normal(0, 0.2, (SIDE, SIDE, 3)),
        "grain": rng.normal(0, 0.12, (SIDE, SIDE, 1)),
    }
    noise = rng.normal(0, 0.01, (SIDE, SIDE, 3))
    return rng.uniform(0.25, 0.75, 3) + textures[texture] + noise


def tint(rng: Generator, kind: int | None) -> np.ndarray:
    """A surface (SIDE, SIDE, 3) in [0, 1] with fine noise: of the hue of a kind, or gray."""
    saturation = 0.0 if kind is None else rng.uniform(0.6, 0.9)
    hue = 0.0 if kind is None else (kind + rng.uniform(-0.15, 0.15)) / len(KINDS)
    color = np.array(hsv_to_rgb(hue % 1, saturation, rng.uniform(0.45, 0.85)))
    return color + rng.normal(0, 0.04, (SIDE, SIDE, 3))


def draw(folder: Path, by: str) -> None:
    """Write photos, masks and labels: a shape with the texture of its kind before a grainy background."""
    shapes = SyntheticShapes(TRAINED + TESTED, SIDE)
    for number in range(len(shapes)):
        rng = default_rng([7, number])
        inside = shapes.read_mask(number)[0].numpy() > 0
        kind = number % len(KINDS)
        if by == "hue":
            scene = np.where(inside[..., None], tint(rng, kind), tint(rng, None))
        else:
            scene = np.where(inside[..., None], surface(rng, KINDS[kind]), surface(rng, "grain"))
        part = folder / ("train" if number < TRAINED else "test")
        pictures = {
            "photos": np.rint(scene.clip(0, 1) * 255).astype(np.uint8),
            "masks": inside * np.uint8(255),
            "labels": inside * np.uint8(1 + kind),
        }
        for name, picture in pictures.items():
            (part / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(part / name / f"{number:03}.png")


JITTER = {"texture": "[0.4,0.4,0.4,0.5]", "hue": "[0.3,0.3,0,0]"}
"""Of the training views: colours change unless they are the kind."""


def train(seed: int, epochs: int, by: str) -> Path:
    words = ["--config", "maskcontrast_vit", "--model.backbone", "descriptor4", "--data.train", "train/photos"]
    words += ["--data.masks", "train/masks", "--test", "none", "--seed_everything", seed, "--name", f"s{seed}"]
    words += ["--data.size", 48, "--data.resize", SIDE, "--data.area", "[0.12,0.22]", "--data.ratio", "[0.9,1.1]"]
    words += ["--data.jitter", JITTER[by], "--data.grayscale_p", 0]
    words += ["--data.held_out", 8, "--data.num_workers", 0]
    words += ["--data.batch_size", 8, "--model.queue", 16, "--model.momentum", 0.99, "--model.optimizer.lr", 3e-3]
    words += ["--trainer.max_epochs", epochs]
    run("fit", *words)
    return Path("runs", f"s{seed}")


def test(trained: Path, components: int, foreground: float) -> dict:
    words = ["--run", trained, "--data", "test/photos", "--data.labels", "test/labels"]
    words += ["--model.semantic.num_classes", 1 + len(KINDS), "--model.test_size", SIDE]
    words += ["--model.semantic.components", components, "--model.semantic.foreground", foreground]
    run("test", *words)
    return json.loads((trained / "test/photos-maskcontrast.json").read_text())


def run(*words: object) -> None:
    if segtricks([str(word) for word in words]):
        raise SystemExit(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--by", choices=("texture", "hue"), default="texture")
    parser.add_argument("--epochs", type=int, default=36)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results.csv")
    options = parser.parse_args()
    rows = []
    output = options.output.absolute()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        draw(Path(), options.by)
        for seed in options.seeds:
            trained = train(seed, options.epochs, options.by)
            for choice in CHOICES:
                rows += of_result(test(trained, *choice), seed, *choice)
                write(rows, output)


def of_result(result: dict, seed: int, components: int, foreground: float) -> list[dict]:
    about = {"training": seed, "components": components, "foreground": foreground, "images": result["images"]}
    return [
        about | {"row": row} | {name: f"{metrics[name]:.4f}" for name in FIGURES}
        for row, metrics in result["rows"].items()
    ]


def write(rows: list[dict], output: Path) -> None:
    with output.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
