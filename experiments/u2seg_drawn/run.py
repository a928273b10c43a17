"""U2Seg on drawn scenes with exact truth: pseudo-labels, and a small network that learns them.

    python experiments/u2seg_drawn/run.py --epochs 8

labels 160 scenes with MaskCut, k-means and the merge, trains on them without any truth, and after every epoch scores
48 further scenes by the strict mapping. It writes ``results.csv``, a row for the pseudo-labels and one for each epoch,
and ``figure.png``. No photograph and no weights are needed.
"""

import argparse
import csv
import tempfile
import time
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from lightning.pytorch import Callback, Trainer, seed_everything
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate
from tqdm import tqdm

from segtricks.backbones import create_backbone
from segtricks.data import SaliencyDataModule
from segtricks.data.datasets.scenes import DrawnScenes
from segtricks.data.sample import Instances
from segtricks.data.transforms import to_input
from segtricks.discovery import maskcut, pool_regions
from segtricks.heads.panoptic_fpn import NetworkSize
from segtricks.methods import U2Seg
from segtricks.pseudo_labels import (
    cluster_stuff,
    encode_mask,
    kmeans,
    merge_panoptic,
    select_masks,
    semantic_target,
    write_entry,
    write_labels,
)
from segtricks.pseudo_labels.merge import PanopticPrediction
from segtricks.refine import BILATERAL_PRESETS
from segtricks.scoring.evaluator import Target
from segtricks.scoring.panoptic import PanopticEvaluator

THINGS, STUFF, TRIES = 6, 5, 10
SIDE, TRAINED, HELD_OUT = 128, 160, 48
SMALL = NetworkSize(
    depth=18, channels=128, hidden=256, anchor=16, level_proposals=200, proposals=200, samples=64, detections=20
)
FIGURES = ("pq", "pq_things", "pq_stuff", "mask_ap50", "mask_ar100", "box_ap50", "box_ar100")


def label(scenes: DrawnScenes) -> list[PanopticPrediction]:
    """Pseudo-labels of all scenes."""
    photos = [scenes.read_image(index) for index in range(len(scenes))]
    with torch.no_grad():
        features = create_backbone("descriptor")(to_input(torch.stack(photos)))
    cuts = maskcut(features, 0.4).masks
    masks = [refined(photo, each) for photo, each in zip(tqdm(photos, desc="masks"), cuts, strict=True)]
    vectors = [pool_regions(*each) for each in zip(features, masks, strict=True)]
    labels = kmeans(torch.cat(vectors), THINGS, tries=TRIES).labels + 1
    stuff = cluster_stuff(list(features), [(SIDE, SIDE)] * len(scenes), STUFF, tries=TRIES)
    found = []
    for own, classes, each in zip(masks, labels.split([len(own) for own in masks]), stuff, strict=True):
        panoptic = merge_panoptic(own, classes, each, num_things=THINGS)
        found.append(PanopticPrediction(Instances(own, classes, torch.ones(len(own))), panoptic, THINGS))
    return found


def refined(photo: Tensor, cuts: Tensor) -> Tensor:
    before = interpolate(cuts[cuts.flatten(1).any(dim=1), None], (SIDE, SIDE), mode="nearest-exact") > 0.5
    pictures = (photo / 255).expand(len(before), -1, -1, -1)
    after = BILATERAL_PRESETS["two-tricks"](before.float(), pictures) > 0.5
    masks = select_masks(before[:, 0], after[:, 0])
    return masks[masks.flatten(1).any(dim=1)]


def write(scenes: DrawnScenes, labels: list[PanopticPrediction], photos: Path, store: Path) -> None:
    photos.mkdir()
    for index, (instances, panoptic, _) in enumerate(labels):
        name = scenes.images[index].stem
        Image.fromarray(scenes.read_image(index).permute(1, 2, 0).numpy()).save(photos / f"{name}.png")
        write_labels(store, name, semantic_target(panoptic, num_things=THINGS).numpy())
        pairs = zip(instances.masks.numpy(), instances.labels.tolist(), strict=True)
        write_entry(store, name, f"{name}.png", (SIDE, SIDE), [encode_mask(mask, 1.0, kind) for mask, kind in pairs])


def score(scenes: DrawnScenes, predictions: list[PanopticPrediction]) -> dict[str, dict[str, float]]:
    """Figures by row: of the predictions, and of the floors."""
    evaluator = PanopticEvaluator("scenes", THINGS, STUFF)
    for index, prediction in enumerate(predictions):
        evaluator.add(Target(str(index), panoptic=scenes.read_panoptic(index)), {"mask": prediction})
    return {row: each.metrics for row, each in evaluator.result().rows.items()}


class Score(Callback):
    """Score the held-out scenes after every epoch."""

    def __init__(self, scenes: DrawnScenes, output: Path, rows: list[dict]) -> None:
        self.scenes, self.output, self.rows = scenes, output, rows
        self.seconds, self.since = 0.0, time.process_time()

    def on_train_epoch_end(self, trainer: Trainer, module: U2Seg) -> None:
        self.seconds += time.process_time() - self.since
        module.eval()
        photos = [self.scenes.read_image(index) for index in range(len(self.scenes))]
        figures = score(self.scenes, [module.prediction_of(photo) for photo in photos])["mask"]
        module.train()
        loss = float(trainer.callback_metrics["train/loss"])
        add(self.rows, f"epoch {trainer.current_epoch + 1}", trainer.global_step, self.seconds, figures, loss)
        save(self.rows, self.output)
        self.since = time.process_time()


def add(rows: list[dict], row: str, step: int, seconds: float, figures: dict[str, float], loss: float | str) -> None:
    line = {"row": row, "step": step, "cpu_seconds": round(seconds), "loss": loss if loss == "" else f"{loss:.3f}"}
    rows.append(line | {key: f"{figures.get(key, 0):.4f}" for key in FIGURES})
    print(rows[-1], flush=True)


def save(rows: list[dict], output: Path) -> None:
    with (output / "results.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    epochs = [row for row in rows if row["row"].startswith("epoch")]
    figure, axis = plt.subplots(figsize=(5, 3.2))
    for number, key in enumerate(("pq", "pq_things", "pq_stuff")):
        axis.plot([row["step"] for row in epochs], [float(row[key]) for row in epochs], f"C{number}o-", label=key)
        axis.axhline(float(rows[0][key]), color=f"C{number}", linestyle=":", linewidth=1)
    axis.set(xlabel="step", ylabel="held-out, strict (dotted: pseudo-labels)", ylim=(0, 1))
    axis.legend()
    figure.tight_layout()
    figure.savefig(output / "figure.png", dpi=110)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--norm", default="group")
    parser.add_argument("--schedule", default="cosine")
    parser.add_argument("--lr", type=float, default=0.02)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent)
    options = parser.parse_args()
    seed_everything(options.seed)
    scenes = DrawnScenes(TRAINED + HELD_OUT, SIDE)
    started = time.process_time()
    labels = label(scenes)
    seconds = time.process_time() - started
    held_out = scenes.part(TRAINED, None)
    rows: list[dict] = []
    for row, figures in score(held_out, labels[TRAINED:]).items():
        add(rows, "pseudo-labels" if row == "mask" else row, 0, seconds if row == "mask" else 0, figures, "")
    with tempfile.TemporaryDirectory() as folder:
        photos, store = Path(folder) / "photos", Path(folder) / "store"
        write(scenes, labels[:TRAINED], photos, store)
        data = SaliencyDataModule(
            train=str(photos), masks=str(store), test=[], size=SIDE, resize=SIDE, batch_size=4, held_out=4,
            num_workers=0, jitter_p=0, grayscale_p=0, seed=options.seed,
        )  # fmt: skip
        data.ask_for_targets("panoptic")
        module = U2Seg(
            THINGS, STUFF, SMALL, options.norm, warmup_steps=20, schedule=options.schedule, min_stuff_area=64,
            optimizer=lambda groups: torch.optim.SGD(groups, options.lr, momentum=0.9, weight_decay=5e-5),
            seed=options.seed,
        )  # fmt: skip
        module.input_size = SIDE
        trainer = Trainer(
            max_epochs=options.epochs, accelerator="cpu", gradient_clip_val=1.0, logger=False, log_every_n_steps=1,
            enable_checkpointing=False, enable_model_summary=False, num_sanity_val_steps=0,
            use_distributed_sampler=False, callbacks=[Score(held_out, options.output, rows)],
        )  # fmt: skip
        trainer.fit(module, data)


if __name__ == "__main__":
    main()
