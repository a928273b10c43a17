"""MaskContrast on drawn scenes whose kinds are known: does k-means on its embeddings find them?

    OMP_NUM_THREADS=1 python experiments/maskcontrast_drawn/run.py [--scenes color|grain|hue]

draws scenes, trains on 160 with their masks and without their kinds, scores 80 others as ``segtricks test`` does, also
with their true masks as foreground, and writes ``results.csv``. No photograph and no weights are needed.
"""

import argparse
import contextlib
import csv
import tempfile
from collections.abc import Callable
from colorsys import hsv_to_rgb
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.random import Generator, default_rng
from PIL import Image

from segtricks import load_run
from segtricks.cli import main as segtricks
from segtricks.data import SyntheticShapes
from segtricks.scoring.evaluator import Target
from segtricks.scoring.semantic import Embedded, SemanticEvaluator
from segtricks.scoring.semantic_protocol import SemanticProtocol

SIDE, TRAINED = 128, 160
KINDS = ("smooth", "stripes", "waves", "speckles")
TRUE = "true masks"
CHOICES = ((32, "0.5"), (8, "0.5"), (3, "0.5"), (3, "2"), (32, TRUE), (8, TRUE), (3, TRUE))
"""Components and foreground of the scores; 32 and a logit above 0.5 are published."""
FIGURES = ("kmeans_miou", "kmeans_miou_std", "kmeans_miou_present", "kmeans_accuracy")


def texture(rng: Generator, name: str) -> np.ndarray:
    """What a texture adds to a color, (SIDE, SIDE, 1 or 3)."""
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
    return textures[name] + rng.normal(0, 0.01, (SIDE, SIDE, 3))


def any_color(rng: Generator, spread: float = 0.25) -> np.ndarray:
    return rng.uniform(0.5 - spread, 0.5 + spread, 3)


def tint(rng: Generator, hues: tuple[float, float] | None) -> np.ndarray:
    """A color of a hue within a range, or gray."""
    saturation = 0.0 if hues is None else rng.uniform(0.6, 0.9)
    hue = 0.0 if hues is None else rng.uniform(*hues)
    return np.array(hsv_to_rgb(hue % 1, saturation, rng.uniform(0.45, 0.85)))


Surfaces = tuple[np.ndarray, np.ndarray]
"""Object and background, (SIDE, SIDE, 3) in [0, 1] but for what is clipped."""


def on_color(rng: Generator, kind: int) -> Surfaces:
    """An object of any pale color with the texture of a kind, and grain of any strong color."""
    inside = texture(rng, KINDS[kind]) + any_color(rng, 0.15)
    return inside, texture(rng, "grain") + tint(rng, (0, 1))


def on_grain(rng: Generator, kind: int) -> Surfaces:
    """The same, both of any color."""
    inside = texture(rng, KINDS[kind]) + any_color(rng)
    return inside, texture(rng, "grain") + any_color(rng)


def of_a_hue(rng: Generator, kind: int) -> Surfaces:
    """An object of the hue of a kind, and gray, both with fine noise."""
    inside = tint(rng, ((kind - 0.15) / len(KINDS), (kind + 0.15) / len(KINDS))) + noise(rng)
    return inside, tint(rng, None) + noise(rng)


def noise(rng: Generator) -> np.ndarray:
    return rng.normal(0, 0.04, (SIDE, SIDE, 3))


class Scenes(NamedTuple):
    """What is drawn, and how it is trained on: the jitter keeps hues where they are the kind."""

    paint: Callable[[Generator, int], Surfaces]
    epochs: int
    jitter: str = "[0.4,0.4,0.4,0.5]"


SCENES = {
    "color": Scenes(on_color, 36),
    "grain": Scenes(on_grain, 36),
    "hue": Scenes(of_a_hue, 12, "[0.3,0.3,0,0]"),
}


def draw(folder: Path, scenes: Scenes, drawing: int, tested: int) -> None:
    """Write photos, masks and labels, each drawing from random numbers of its own."""
    shapes = SyntheticShapes(TRAINED + tested, SIDE, drawing)
    for number in range(len(shapes)):
        inside = shapes.read_mask(number)[0].numpy() > 0
        kind = number % len(KINDS)
        scene = np.where(inside[..., None], *scenes.paint(default_rng([7 + drawing, number]), kind))
        pictures = {
            "photos": np.rint(scene.clip(0, 1) * 255).astype(np.uint8),
            "masks": inside * np.uint8(255),
            "labels": inside * np.uint8(1 + kind),
        }
        for name, picture in pictures.items():
            part = folder / ("train" if number < TRAINED else "test") / name
            part.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(part / f"{number:04}.png")


def train(seed: int, scenes: Scenes, precision: str) -> Path:
    run = Path("runs", f"s{seed}")
    if run.exists():
        return run
    words = ["--config", "maskcontrast_vit", "--model.backbone", "descriptor4", "--data.train", "train/photos"]
    words += ["--data.masks", "train/masks", "--test", "none", "--seed_everything", seed, "--name", run.name]
    words += ["--data.size", 48, "--data.resize", SIDE, "--data.area", "[0.12,0.22]", "--data.ratio", "[0.9,1.1]"]
    words += ["--data.jitter", scenes.jitter, "--data.grayscale_p", 0]
    words += ["--data.held_out", 8, "--data.num_workers", 0]
    words += ["--data.batch_size", 8, "--model.queue", 16, "--model.momentum", 0.99, "--model.optimizer.lr", 3e-3]
    words += ["--trainer.max_epochs", scenes.epochs, "--trainer.precision", precision]
    if segtricks(["fit", *map(str, words)]):
        raise SystemExit(1)
    return run


Seen = list[tuple[Target, dict[str, Embedded]]]
"""Labels of each image, and its features and saliency by row."""


def look(run: Path) -> Seen:
    module = load_run(run)
    module.test_size = SIDE
    seen = []
    for path in sorted(Path("test/photos").iterdir()):
        photo, labels = (np.array(Image.open(each)) for each in (path, Path("test/labels", path.name)))
        with torch.no_grad():
            rows = module.embedded(torch.from_numpy(photo).permute(2, 0, 1))
        seen.append((Target(path.name, labels=torch.from_numpy(labels).long()), rows))
    return seen


def score(seen: Seen, components: int, foreground: str) -> dict[str, dict[str, float]]:
    """Return the figures of each row."""
    level = SemanticProtocol.foreground if foreground == TRUE else float(foreground)
    protocol = SemanticProtocol(num_classes=1 + len(KINDS), components=components, foreground=level)
    evaluator = SemanticEvaluator("drawn", protocol, tuple(seen[0][1]))
    for target, rows in seen:
        evaluator.add(target, {row: with_foreground(found, target, rows, foreground) for row, found in rows.items()})
    return {row: found.metrics for row, found in evaluator.result().rows.items()}


def with_foreground(found: Embedded, target: Target, rows: dict[str, Embedded], foreground: str) -> Embedded:
    """Of untrained features the mask is that of the trained head, without its weights, as in ``segtricks test``."""
    if foreground == TRUE:
        return Embedded(found.features, target.labels > 0)
    trained = rows["mask"]
    return found if found is trained else Embedded(found.features, trained.saliency > float(foreground))


def lines(seen: Seen, about: dict[str, object]) -> list[dict[str, object]]:
    found = []
    for components, foreground in CHOICES:
        for row, metrics in score(seen, components, foreground).items():
            choice = {"components": components, "foreground": foreground, "images": len(seen), "row": row}
            found.append(about | choice | {name: f"{metrics[name]:.4f}" for name in FIGURES})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", choices=SCENES, default="color")
    parser.add_argument("--drawing", type=int, default=0, help="another number draws other scenes")
    parser.add_argument("--tested", type=int, default=80, help="scenes that are scored")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the trainings")
    parser.add_argument("--precision", default="32-true", help="of the trainings")
    parser.add_argument("--work", type=Path, help="keep scenes and runs here, and use those that are there")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results.csv")
    options = parser.parse_args()
    output, scenes = options.output.absolute(), SCENES[options.scenes]
    scenes = scenes._replace(epochs=options.epochs or scenes.epochs)
    if options.work is not None:
        options.work.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, object]] = []
    with contextlib.ExitStack() as stack:
        folder = options.work or stack.enter_context(tempfile.TemporaryDirectory())
        stack.enter_context(contextlib.chdir(folder))
        draw(Path(), scenes, options.drawing, options.tested)
        for seed in options.seeds:
            about = {"scenes": options.scenes, "drawing": options.drawing, "training": seed}
            rows += lines(look(train(seed, scenes, options.precision)), about)
            write(rows, output)


def write(rows: list[dict[str, object]], output: Path) -> None:
    with output.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
