"""How many minutes of training a useful mask takes: IoU on photographs kept aside against time, recipe by recipe.

    python experiments/time_to_quality/run.py --root DATA --seeds 0 1 2 --recipes "coarse 168" 224

appends to ``curves.csv``. Every recipe trains Sempart without masks on the first 320 photographs of ECSSD by name and
is scored on the last 80 of 400 at 336 pixels, plain and with the guided filter, each time a mark is passed. Time is
that of training alone, from the first photograph read to the mark: by the clock, and of all processors.
"""

import argparse
import csv
import math
import os
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer, seed_everything
from torch import Tensor
from torch.nn.functional import interpolate
from tqdm import tqdm

from segtricks.backbones import create_backbone
from segtricks.backbones.affinity import affinity_of
from segtricks.backbones.feature_cache import cache_features
from segtricks.data import SaliencyDataModule
from segtricks.data.datasets.registry import open_dataset
from segtricks.data.transforms import fit_short_side, to_input
from segtricks.methods import Sempart
from segtricks.refine import GuidedFilter

BACKBONE, READ_AT, RADIUS = "dinov2_vits14", 336, 9
COLUMNS = ("recipe", "seed", "threads", "precision", "steps", "minutes", "cpu_minutes", "iou", "iou_filtered")

SOON, LATE = (0.25, 0.5, 0.75, 1, 1.5, 2, 3), (2, 7)

Recipe = dict[str, Any]


def recipe(
    size: int,
    batch: int,
    lr: float,
    *,
    falls_to_zero: int = 0,
    colors: bool = True,
    marks: tuple[float, ...] = SOON,
    **model: Any,
) -> Recipe:
    """What to train with.

    Args:
        size: side of the training pictures in pixels.
        batch: photographs a step.
        lr: learning rate.
        falls_to_zero: steps after which it has fallen to 0 along half a cosine, and training ends; 0 keeps it.
        colors: whether colours are jittered and dropped, as the paper does.
        marks: minutes of training after which the head is scored.
        model: options of Sempart.
    """
    data: Recipe = {"size": size, "batch_size": batch}
    if not colors:
        data |= {"jitter_p": 0.0, "grayscale_p": 0.0}
    return {"lr": lr, "falls_to_zero": falls_to_zero, "marks": marks, "data": data, "model": model}


_COARSE: Recipe = {"crop": False, "fine": False}
RECIPES = {
    "coarse 168": recipe(168, 8, 2e-3, falls_to_zero=80, **_COARSE),
    "coarse 168, colours kept": recipe(168, 8, 2e-3, falls_to_zero=80, colors=False, **_COARSE),
    "coarse 168, colours kept, constant": recipe(168, 8, 2e-3, colors=False, **_COARSE),
    "coarse 224": recipe(224, 8, 2e-3, falls_to_zero=80, **_COARSE),
    "coarse 224, crop, colours kept": recipe(224, 8, 2e-3, falls_to_zero=80, colors=False, fine=False),
    "168": recipe(168, 4, 2e-3, marks=LATE, crop=False),
    "168, colours kept": recipe(168, 4, 2e-3, colors=False, marks=LATE, crop=False),
    "224, crop": recipe(224, 4, 6e-4, marks=LATE),
}


class Marks(Callback):
    """Score the head each time training has taken a mark's time, which the scoring itself is not counted in."""

    def __init__(self, name: str, chosen: Recipe, views: list[tuple[Tensor, Tensor, Tensor]], seed: int) -> None:
        self.name, self.chosen, self.views, self.seed = name, chosen, views, seed
        self.marks = list(chosen["marks"])
        self.clock = self.processors = 0.0
        self.rows: list[dict[str, Any]] = []

    def on_train_start(self, trainer: Trainer, module: Sempart) -> None:
        self._begin()

    def _begin(self) -> None:
        self.since, self.since_processors = time.monotonic(), time.process_time()

    def on_train_batch_end(self, trainer: Trainer, module: Sempart, *_: Any) -> None:
        self.clock += time.monotonic() - self.since
        self.processors += time.process_time() - self.since_processors
        minutes, last = self.processors / 60 / torch.get_num_threads(), self.chosen["falls_to_zero"]
        done = trainer.global_step == last if last else minutes >= self.marks[-1]
        if done or minutes >= self.marks[0]:
            self.marks = [mark for mark in self.marks if minutes < mark] or [math.inf]
            self._score(trainer, module)
        trainer.should_stop = done
        self._begin()

    @torch.no_grad()
    def _score(self, trainer: Trainer, module: Sempart) -> None:
        module.eval()
        scores = [_ious(module, *view) for view in self.views]
        module.train()
        plain, filtered = (sum(column) / len(column) for column in zip(*scores, strict=True))
        row = {
            **{"recipe": self.name, "seed": self.seed, "threads": torch.get_num_threads()},
            **{"precision": trainer.precision, "steps": trainer.global_step},
            **{"minutes": f"{self.clock / 60:.2f}", "cpu_minutes": f"{self.processors / 60:.2f}"},
            **{"iou": f"{plain:.4f}", "iou_filtered": f"{filtered:.4f}"},
        }
        self.rows.append(row)
        print(*row.values(), flush=True)


def _ious(module: Sempart, features: Tensor, photo: Tensor, target: Tensor) -> tuple[float, float]:
    """IoU at the photograph's own size of a mask that is read at READ_AT pixels, plain and filtered."""
    mask = module.sign.orient(module.head(features, to_input(photo)[None]).fine.sigmoid())
    filtered = GuidedFilter(radius=RADIUS)(mask, photo[None].float() / 255)
    truth = target >= 128
    inside = [interpolate(found, size=target.shape[-2:], mode="bilinear")[0] > 0.5 for found in (mask, filtered)]
    first, second = (float((found & truth).sum() / (found | truth).sum()) for found in inside)
    return first, second


@torch.no_grad()
def read_views(root: str) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Features, photograph at READ_AT pixels and true mask of the photographs that are kept aside."""
    views, backbone = [], create_backbone(BACKBONE, feature=affinity_of(BACKBONE, "sempart").feature)
    cache_features(backbone)
    for sample in tqdm(open_dataset("ecssd[320:]", root), desc="photographs kept aside"):
        photo = fit_short_side(sample["image"], READ_AT, backbone.patch_size)
        views.append((backbone(to_input(photo)[None]), photo, sample["target"]))
    return views


def train(name: str, chosen: Recipe, views: list[tuple[Tensor, Tensor, Tensor]], options: Any, seed: int) -> None:
    """Train by a recipe until its last mark; append what was scored to the file."""
    seed_everything(seed, verbose=False)
    last = chosen["falls_to_zero"]
    model = {"schedule": "cosine" if last else "constant", **chosen["model"]}
    adam = partial(torch.optim.AdamW, lr=chosen["lr"], betas=(0.9, 0.99), weight_decay=0)
    module = Sempart(BACKBONE, seed=seed, optimizer=adam, **model)
    data = SaliencyDataModule(
        "ecssd[:320]", [], options.root, held_out=1, num_workers=0, seed=seed, multiple=module.backbone.patch_size,
        **chosen["data"],
    )  # fmt: skip
    marks = Marks(name, chosen, views, seed)
    trainer = Trainer(
        accelerator="cpu", max_epochs=-1, max_steps=last or -1, precision=options.precision, callbacks=[marks],
        logger=False, enable_checkpointing=False, enable_model_summary=False, limit_val_batches=0,
        num_sanity_val_steps=0, enable_progress_bar=False,
    )  # fmt: skip
    trainer.fit(module, data)
    new = not options.output.exists()
    with options.output.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerows(marks.rows)


def main() -> None:
    """Train every chosen recipe with every seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default="data", help="folder that holds ECSSD")
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--precision", default="32-true", help="of training: 32-true or bf16-mixed")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("curves.csv"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    views = read_views(options.root)
    for seed in options.seeds:
        for name in options.recipes:
            train(name, RECIPES[name], views, options, seed)


if __name__ == "__main__":
    main()
