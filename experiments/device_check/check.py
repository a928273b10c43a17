"""Check and time the training step on this machine's device, in one call.

    python experiments/device_check/check.py [--golden GOLDEN] [--output results.json]

Golden values must hold on the device in float32; then each part of a step of the paper's recipe (ViT-S/8 of random
weights, 8 images of 320 pixels and their 8 crops) is timed in float32 and under bfloat16 autocast.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch

from segtricks.heads import load_original_head
from segtricks.losses import feature_tv_loss, image_tv_loss, normalized_cut_loss, self_consistency_loss
from segtricks.methods import Sempart
from segtricks.refine import guided_filter

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def golden_errors(folder: Path) -> dict[str, float]:
    """Largest error of every golden value on the device, relative to the largest golden entry."""

    def values(name: str) -> dict[str, torch.Tensor]:
        return {key: torch.from_numpy(np.asarray(value)).to(DEVICE) for key, value in np.load(folder / name).items()}

    def error(ours: torch.Tensor, expected: torch.Tensor) -> float:
        return float((ours - expected).abs().max() / expected.abs().max())

    found = {}
    for patch in (8, 16):
        head, data = (
            load_original_head(folder / f"sempart_head_p{patch}.pth").to(DEVICE),
            values(f"sempart_head_p{patch}.npz"),
        )
        with torch.no_grad():
            found[f"head_p{patch}"] = error(head(data["features"], data["image"]).fine, data["fine_logits_eval"])
    data = values("losses.npz")
    features, image, coarse, fine = (data[key] for key in ("features", "image", "coarse_mask", "fine_mask"))
    found["ncut"] = error(normalized_cut_loss(features, coarse), data["ncut"])
    found["fine_tv"] = error(image_tv_loss(image, fine), data["fine_tv"])
    found["coarse_tv"] = error(feature_tv_loss(features, coarse), data["coarse_tv"])
    found["self_consistency"] = error(self_consistency_loss(coarse, fine), data["self_consistency"])
    data = values("guided_filter.npz")
    found["guided_filter"] = error(guided_filter(data["mask"], data["image_rgb01"]), data["filtered_r9_eps1e3"])
    return found


def seconds(run: Callable[[], object], repeats: int) -> float:
    """Median time of a call, after a warm-up."""
    times = []
    for i in range(repeats + 2):
        _synchronize()
        start = time.perf_counter()
        run()
        _synchronize()
        if i >= 2:
            times.append(time.perf_counter() - start)
    return statistics.median(times)


def step_times(batch: int, size: int, bfloat16: bool, repeats: int) -> dict[str, float]:
    """Seconds of the parts of a training step, and of the whole."""
    torch.manual_seed(0)
    module = Sempart("dino_vits8", pretrained=False).to(DEVICE)
    optimizer = module.configure_optimizers()
    images = torch.randn(batch, 3, size, size, device=DEVICE)
    generator = torch.Generator().manual_seed(0)
    autocast = torch.autocast(DEVICE.type, torch.bfloat16) if bfloat16 else nullcontext()

    def step() -> None:
        with autocast:
            terms, _ = module.loss_terms(images, generator)
            loss = module.total(terms)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def floor() -> None:
        with autocast:
            features = module.backbone(views)[:batch]
            output = module.head(features, images)
            loss = output.fine.float().mean() + output.coarse.float().mean()
        loss.backward()

    views = torch.cat([images, images])
    with autocast:
        backbone = seconds(lambda: module.backbone(views), repeats)
    result = {"backbone": backbone, "floor": seconds(floor, repeats), "step": seconds(step, repeats)}
    return result | {"step_over_floor": result["step"] / result["floor"]}


def main() -> None:
    """Run everything and print it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--golden", type=Path, help="folder of golden values; left out, only times are taken")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args()
    device = torch.cuda.get_device_name() if DEVICE.type == "cuda" else platform.processor() or platform.machine()
    result = {"device": device, "torch": torch.__version__, "batch": options.batch, "size": options.size}
    if options.golden:
        result["golden_relative_error"] = golden_errors(options.golden)
    for name, bfloat16 in (("float32", False), ("bfloat16", True)):
        result[name] = step_times(options.batch, options.size, bfloat16, options.repeats)
    if DEVICE.type == "cuda":
        result["peak_memory_gb"] = torch.cuda.max_memory_allocated() / 1e9
    text = json.dumps(result, indent=2)
    print(text)
    if options.output:
        options.output.write_text(text + "\n")


def _synchronize() -> None:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
