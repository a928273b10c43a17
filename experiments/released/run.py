"""Train the head that ships with segtricks, without masks, and write it into the package.

    python experiments/released/run.py --root DATA --work FOLDER

trains in FOLDER/runs/released (about 40 minutes on one core with AVX-512 BF16; called again, it goes on) and writes
``segtricks/released/*.safetensors`` in half precision. DATA holds ECSSD's first 400 pairs by name, of whose photographs
the first 320 are used, 200 photographs of BSDS500, 50 of VOC 2012, 128 of COCO and 46 frames of DAVIS.
"""

import argparse
import contextlib
from pathlib import Path

import safetensors.torch
import torch

from segtricks.cli import main as segtricks
from segtricks.data import find_images
from segtricks.data.datasets.folder import write_list
from segtricks.methods.released import WEIGHTS

RUN = "released"
FOLDERS = ("photos", "VOCdevkit/VOC2012/JPEGImages", "coco/images", "DAVIS/JPEGImages")
OPTIONS = (
    *("--config", "sempart_tricks", "--test", "none", "--seed_everything", "0", "--save_every", "50"),
    *("--model.backbone", "dinov2_vits14", "--model.refiner.radius", "6", "--model.optimizer.lr", "6e-4"),
    *("--model.lr_scheduler.class_path", "torch.optim.lr_scheduler.CosineAnnealingLR"),
    *("--model.lr_scheduler.init_args.T_max", "3", "--trainer.max_epochs", "3", "--trainer.log_every_n_steps", "20"),
    *("--data.size", "224", "--data.resize", "234", "--data.batch_size", "4", "--data.num_workers", "0"),
    *("--trainer.precision", "bf16-mixed"),
)


def photographs(root: Path) -> list[Path]:
    """Every photograph that may be trained on: of ECSSD the first 320 by name, since the others are kept aside."""
    others = [path for folder in FOLDERS for path in sorted(find_images(root / folder))]
    return sorted(find_images(root / "ECSSD" / "images"))[:320] + others


def export(checkpoint: Path) -> None:
    """Write what was trained, without the frozen backbone, in half precision."""
    content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    state = {name: tensor.contiguous() for name, tensor in content["state_dict"].items()}
    state = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    about = {key: str(value) for key, value in content["segtricks"].items()}
    about |= {"affinity_threshold": str(content["affinity_threshold"]), "step": str(content["global_step"])}
    safetensors.torch.save_file(state, WEIGHTS, about)
    print(f"{WEIGHTS}: {WEIGHTS.stat().st_size:,} bytes, of step {content['global_step']:,}")


def main() -> None:
    """Train, then export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder with ECSSD, photos, VOCdevkit, coco and DAVIS")
    parser.add_argument("--work", type=Path, required=True, help="folder for the run")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    write_list(options.work / "photographs.txt", [path.resolve() for path in photographs(options.root)])
    with contextlib.chdir(options.work):
        there = ["--resume"] if Path("runs", RUN).is_dir() else []
        if segtricks(["fit", *OPTIONS, "--data.train", "photographs.txt", "--name", RUN, *there]):
            raise SystemExit(1)
    export(options.work / "runs" / RUN / "checkpoints" / "last.ckpt")


if __name__ == "__main__":
    main()
