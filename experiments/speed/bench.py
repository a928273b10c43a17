"""Time the training step and everything else that takes time, on a CPU or a GPU, as ratios within one run.

    python experiments/speed/bench.py [--device cuda] [--batch 8] [--size 320] [--compile] [--sweep] [--steady 300]

Random weights: nothing is fetched. Repetitions of all sides alternate; medians. The `reference` is the step of the
first published code, written plainly (reference.py); the `floor` the passes through the networks alone: backbone of
images and crops, head of both, gradient of both masks. On a GPU, timings wait for the device, and a step's own waits
for it are counted. Where other jobs share the processor, `--clock process` with OMP_NUM_THREADS=1 counts only the time
that this process had it. Rows are appended to results.csv with the machine's name.
"""

import argparse
import csv
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from contextlib import contextmanager
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from reference import sempart_and_reference
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from segtricks.data import SaliencyDataModule
from segtricks.data.transforms import denormalize
from segtricks.discovery import deep_spectral, lost, tokencut
from segtricks.heads import load_original_head
from segtricks.losses import feature_tv_loss, image_tv_loss, normalized_cut_loss, self_consistency_loss
from segtricks.methods import Sempart
from segtricks.metrics import get_protocol, image_scores
from segtricks.refine import guided_filter

HERE = Path(__file__).parent
IMAGES, EPOCHS = 10_553, 30  # DUTS-TR, and the paper's recipe
COLUMNS = [
    *("date", "machine", "threads", "clock", "torch", "backbone", "batch", "size"),
    *("what", "precision", "repetitions", "median_ms", "least_ms", "share"),
]


class Bench:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.device = options, torch.device(options.device)
        self.rows: list[dict[str, Any]] = []
        self.now = time.process_time if options.clock == "process" else time.perf_counter
        torch.backends.cudnn.benchmark = True

    def autocast(self, precision: str) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=precision == "bf16")

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def seconds(self, call: Callable[[], object]) -> float:
        self.wait()
        start = self.now()
        call()
        self.wait()
        return self.now() - start

    def compare(self, sides: dict[tuple[str, str], Callable[[], object]]) -> dict[tuple[str, str], float]:
        """Median seconds of calls that take turns; every (what, precision) becomes a row."""
        for _ in range(self.options.warm_up):
            for call in sides.values():
                call()
        times = defaultdict(list)
        for _ in range(self.options.repeat):
            for side, call in sides.items():
                times[side].append(self.seconds(call))
        for side, seconds in times.items():
            self.add(*side, seconds)
        return {side: statistics.median(seconds) for side, seconds in times.items()}

    def add(self, what: str, precision: str, seconds: list[float], **columns: Any) -> None:
        options, median = self.options, statistics.median(seconds) * 1000
        row = {"batch": options.batch, "size": options.size, "what": what, "precision": precision} | columns
        row |= {"repetitions": len(seconds), "median_ms": f"{median:.2f}", "least_ms": f"{min(seconds) * 1000:.2f}"}
        self.rows.append(row)
        sizes = f"{row['batch']}x{row['size']}"
        print(f"{what:<34}{precision:<6}{sizes:>8} {median:>10.1f} ms   {row.get('share', '')}", flush=True)

    def save(self, path: Path) -> None:
        common = {"date": date.today().isoformat(), "machine": machine(self.device), "threads": torch.get_num_threads()}
        common |= {"torch": torch.__version__, "backbone": self.options.backbone, "clock": self.options.clock}
        fresh = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, restval="")
            if fresh:
                writer.writeheader()
            writer.writerows(common | row for row in self.rows)


def steps(bench: Bench) -> None:
    """The step, whole and in parts, against reference and floor."""
    options, device = bench.options, bench.device
    module, plain = (part.to(device) for part in sempart_and_reference(options.backbone))
    images = torch.randn(options.batch, 3, options.size, options.size, device=device)
    optimizer = module.configure_optimizers()
    plain_optimizer = torch.optim.AdamW(plain.head.parameters(), lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0)
    generator = torch.Generator().manual_seed(0)
    views = torch.cat([images, images]).contiguous(memory_format=torch.channels_last)

    def reference() -> None:
        plain_optimizer.zero_grad()
        plain.loss(images, generator).backward()
        plain_optimizer.step()

    def step(precision: str, module: Sempart = module) -> None:
        optimizer.zero_grad()
        with bench.autocast(precision):
            loss = module.total(module.loss_terms(images, generator)[0])
        loss.backward()
        optimizer.step()

    def floor(precision: str, crops: bool = True) -> None:
        with bench.autocast(precision):
            features, others = module.backbone(views).chunk(2)
            output = module.head(features, views[: len(images)])
            loss = output.fine.float().mean() + output.coarse.float().mean()
            if crops:
                grid, coarse = module.head.encode(others)
                loss = loss + coarse.float().mean()
                with torch.no_grad():
                    module.head.decode(grid, views[len(images) :])
        loss.backward()

    sides: dict[tuple[str, str], Callable[[], object]] = {("reference", "fp32"): reference}
    for precision in options.precision:
        sides[("step", precision)] = partial(step, precision)
        sides[("floor", precision)] = partial(floor, precision)
        sides[("floor without the crops' head", precision)] = partial(floor, precision, crops=False)
        if options.compile:
            compiled, _ = sempart_and_reference(options.backbone, compile=True)
            compiled.head = module.head
            sides[("step, compiled", precision)] = partial(step, precision, compiled.to(device))
    medians = bench.compare(sides)
    best = min(seconds for (what, _), seconds in medians.items() if what == "floor")
    for (what, precision), seconds in medians.items():
        if what.startswith("step"):
            faster = medians["reference", "fp32"] / seconds
            print(
                f"{what} {precision}: {faster:.2f} x faster than the reference, {seconds / best:.2f} x the best floor"
            )
    for precision in options.precision:
        parts(bench, module, images, optimizer, precision)
        rate(bench, partial(step, precision), medians["step", precision], precision)
    if device.type == "cuda":
        print(f"waits for the device in a step: {waits(partial(step, options.precision[-1]))}")
    if options.profile:
        with profile(activities=[ProfilerActivity.CPU, *[ProfilerActivity.CUDA] * (device.type == "cuda")]) as profiler:
            step(options.precision[-1])
        order = "self_cuda_time_total" if device.type == "cuda" else "self_cpu_time_total"
        print(profiler.key_averages().table(sort_by=order, row_limit=20, max_name_column_width=48))


def parts(bench: Bench, module: Sempart, images: torch.Tensor, optimizer: Any, precision: str) -> None:
    """Where a step's time goes; every part waits for the device, so that they add up to a little more than the step."""
    spent: dict[str, list[float]] = defaultdict(list)

    @contextmanager
    def within(name: str) -> Any:
        bench.wait()
        start = bench.now()
        yield
        bench.wait()
        spent[name][-1] += bench.now() - start

    def timed(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any) -> Any:
            with within(name):
                return call(*args)

        return run

    extract, encode, decode = module.networks()
    module.networks = lambda: (timed("backbone", extract), timed("head", encode), timed("head", decode))  # type: ignore[method-assign]
    for _ in range(bench.options.repeat + 1):
        for name in ("backbone", "head", "forward", "backward", "optimizer"):
            spent[name].append(0.0)
        optimizer.zero_grad()
        with bench.autocast(precision), within("forward"):
            loss = module.total(module.loss_terms(images, torch.Generator().manual_seed(0))[0])
        with within("backward"):
            loss.backward()
        with within("optimizer"):
            optimizer.step()
    del module.networks
    forward = spent.pop("forward")
    spent["crops and losses"] = [f - b - h for f, b, h in zip(forward, spent["backbone"], spent["head"], strict=True)]
    for name, seconds in spent.items():
        bench.add(f"step: {name}", precision, seconds[1:])


def data(bench: Bench) -> None:
    """Time of a batch of photographs of DUTS's size: read and cut in one process, then coloured on the device."""
    options = bench.options
    with tempfile.TemporaryDirectory() as folder:
        for i in range(1 + options.batch * (options.repeat + 1)):
            noise = np.random.default_rng(i).integers(0, 256, (60, 80, 3), np.uint8)
            Image.fromarray(noise).resize((400, 300)).save(Path(folder, f"{i}.jpg"), quality=90)
        loaded = SaliencyDataModule(
            folder, [], size=options.size, batch_size=options.batch, held_out=1, num_workers=0
        )  # fmt: skip
        batches = iter(loaded.train_dataloader())
        read, colored = [], []
        for _ in range(options.repeat + 1):
            batch: dict[str, Any] = {}
            read.append(bench.seconds(lambda: batch.update(next(batches))))  # noqa: B023 - called at once
            batch["image"] = batch["image"].to(bench.device)
            colored.append(bench.seconds(partial(loaded.on_after_batch_transfer, batch, 0)))
    bench.add("data: read and cut, one process", "uint8", read[1:])
    bench.add("data: colours on the device", "fp32", colored[1:])


def rate(bench: Bench, step: Callable[[], object], seconds: float, precision: str) -> None:
    """Share of the rate at which the device multiplies matrices, measured here, that a step reaches."""
    with FlopCounterMode(display=False) as counter:
        step()
    side = 8192 if bench.device.type == "cuda" else 2048
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a = torch.randn(side, side, device=bench.device, dtype=dtype)
    best = 2 * side**3 / min(bench.seconds(lambda: a @ a) for _ in range(10))
    reached = counter.get_total_flops() / seconds
    print(
        f"{precision}: {counter.get_total_flops() / 1e12:.3f} TFLOP a step, {reached / 1e12:.2f} TFLOP/s, "
        f"{reached / best:.1%} of the {best / 1e12:.1f} TFLOP/s of a {side}x{side} matrix product"
    )


def waits(step: Callable[[], object]) -> int:
    """How often a step makes the host wait for the device."""
    torch.cuda.set_sync_debug_mode("warn")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        step()
    torch.cuda.set_sync_debug_mode("default")
    return sum("synchronizing" in str(warning.message) for warning in caught)


def others(bench: Bench) -> None:
    """Test, prediction, metrics, guided filter and training-free methods, of one batch."""
    options, device = bench.options, bench.device
    module = sempart_and_reference(options.backbone)[0].to(device).eval()
    images = torch.randn(options.batch, 3, options.size, options.size, device=device)
    rgb01, protocol = denormalize(images), get_protocol("fullres")
    targets = (torch.rand(options.batch, 1, options.size, options.size, device=device) > 0.5).to(torch.uint8) * 255
    features = module.backbone(images)
    masks = torch.rand(options.batch, 1, options.size, options.size, device=device)
    photos = [(image * 255).to(torch.uint8) for image in rgb01]
    batch = {"image": list(images), "photo": photos, "mask": list(targets)}

    def score(masks: torch.Tensor) -> None:
        for mask, target in zip(masks, targets, strict=True):
            image_scores(mask[None], target[None], protocol)

    @torch.inference_mode()
    def predict(precision: str) -> list[torch.Tensor]:
        with bench.autocast(precision):
            return module.predict_step(batch, 0)

    def test(precision: str) -> None:
        for refined in (False, True):  # both rows; the product shares the pass of the networks
            module.predicted_row = "mask + guided filter" if refined else "mask"
            score(torch.stack(predict(precision)))

    sides: dict[tuple[str, str], Callable[[], object]] = {}
    for precision in options.precision:
        sides[("predict", precision)] = partial(predict, precision)
        sides[("test, two passes", precision)] = partial(test, precision)
    sides[("guided filter", "fp32")] = lambda: guided_filter(masks, rgb01)
    sides[("metrics", "fp32")] = partial(score, masks)
    for name, method in {"tokencut": tokencut, "lost": lost, "deep_spectral": deep_spectral}.items():
        sides[(f"discovery: {name}", "fp32")] = partial(method, features)
    bench.compare(sides)


def sweep(bench: Bench) -> None:
    """Cost per image against the number of patches N: the step's, and the part of the normalized cut, which is N²."""
    device, precision = bench.device, bench.options.precision[-1]
    module = sempart_and_reference(bench.options.backbone)[0].to(device)
    generator = torch.Generator().manual_seed(0)
    for size in bench.options.sizes:
        for batch in bench.options.batches:
            images = torch.randn(batch, 3, size, size, device=device)
            features = torch.randn(batch, 384, *[size // module.backbone.patch_size] * 2, device=device)
            coarse = torch.rand_like(features[:, :1]).requires_grad_()

            def step(images: torch.Tensor = images) -> None:
                with bench.autocast(precision):
                    loss = module.total(module.loss_terms(images, generator)[0])
                loss.backward()

            def cut(features: torch.Tensor = features, coarse: torch.Tensor = coarse) -> None:
                normalized_cut_loss(features, coarse).backward()

            cuts = [bench.seconds(cut) for _ in range(3)][1:]
            patches = coarse[0].numel()
            where = {"batch": batch, "size": size}
            if batch * size**2 <= bench.options.most_pixels:
                whole = [bench.seconds(step) for _ in range(3)][1:]
                share = 2 * statistics.median(cuts) / statistics.median(whole)
                bench.add(f"sweep: step, N={patches}", precision, whole, share=f"{share:.1%} in the two cuts", **where)
            per_pair = statistics.median(cuts) / batch / patches**2
            bench.add(f"sweep: cut, N={patches}", "fp32", cuts, share=f"{per_pair * 1e9:.2f} ns x N²", **where)


def cut_memory(bench: Bench, patches: int = 160, dim: int = 384) -> None:
    """Peak memory of the normalized cut of one image of N = 25,600 patches beside its input."""
    features = torch.randn(1, dim, patches, patches, device=bench.device)
    coarse = torch.rand(1, 1, patches, patches, device=bench.device, requires_grad=True)
    before = peak_gigabytes(bench.device)
    seconds = bench.seconds(lambda: normalized_cut_loss(features, coarse).backward())
    extra = peak_gigabytes(bench.device) - before
    print(f"cut of N = {patches**2}: {extra:.2f} GB beside its input ({patches**4 * 4 / 1e9:.2f} GB is N x N)")
    bench.add(f"cut, N={patches**2}", "fp32", [seconds], batch=1, size=patches * 8, share=f"{extra:.2f} GB")


def steady(bench: Bench) -> None:
    """Steps of a real `fit`, loader, logger and bar included, and how long the paper's recipe takes at this pace."""
    # here, because only this part needs them
    import lightning

    from segtricks.training.bar import TrainingBar
    from segtricks.training.health import Health
    from segtricks.training.metrics_file import MetricsFile

    options = bench.options
    count, warm_up = options.steady, min(20, options.steady // 2)
    data = SaliencyDataModule(
        f"synthetic[:{IMAGES}]",
        [],
        size=options.size,
        batch_size=options.batch,
        held_out=1,
        num_workers=options.workers,
    )

    class Clock(lightning.Callback):
        def __init__(self) -> None:
            self.times: list[float] = []

        def on_train_batch_end(self, *_: Any) -> None:
            if len(self.times) in (warm_up - 1, count + warm_up - 1):
                bench.wait()
            self.times.append(time.perf_counter())

    clock = Clock()
    precision = "bf16-mixed" if options.precision[-1] == "bf16" else "32-true"
    module = Sempart(options.backbone, pretrained=False, compile=options.compile)
    with tempfile.TemporaryDirectory() as folder:
        trainer = lightning.Trainer(
            accelerator="gpu" if bench.device.type == "cuda" else "cpu", devices=1, max_steps=count + warm_up,
            logger=MetricsFile(Path(folder)), log_every_n_steps=20, callbacks=[clock, Health(), TrainingBar()],
            precision=precision, enable_checkpointing=False, enable_model_summary=False,
            limit_val_batches=0, benchmark=True,
        )  # fmt: skip
        trainer.fit(module, datamodule=data)
    second = (clock.times[-1] - clock.times[warm_up - 1]) / count
    bench.add("fit, loader included", options.precision[-1], [second])
    hours = second * (IMAGES // options.batch) * EPOCHS / 3600
    print(f"{count} steps after {warm_up}: {second * 1000:.1f} ms; {EPOCHS} epochs of {IMAGES} images: {hours:.2f} h")


def golden_errors(folder: Path, device: torch.device) -> dict[str, float]:
    """Largest error of every golden value on the device, relative to the largest golden entry."""

    def values(name: str) -> dict[str, torch.Tensor]:
        return {key: torch.from_numpy(np.asarray(value)).to(device) for key, value in np.load(folder / name).items()}

    def error(ours: torch.Tensor, expected: torch.Tensor) -> float:
        return float((ours - expected).abs().max() / expected.abs().max())

    found = {}
    for patch in (8, 16):
        name = f"sempart_head_p{patch}"
        head, data = load_original_head(folder / f"{name}.pth").to(device), values(f"{name}.npz")
        with torch.no_grad():
            found[name] = error(head(data["features"], data["image"]).fine, data["fine_logits_eval"])
    data = values("losses.npz")
    features, image, coarse, fine = (data[key] for key in ("features", "image", "coarse_mask", "fine_mask"))
    found["ncut"] = error(normalized_cut_loss(features, coarse), data["ncut"])
    found["fine_tv"] = error(image_tv_loss(image, fine), data["fine_tv"])
    found["coarse_tv"] = error(feature_tv_loss(features, coarse), data["coarse_tv"])
    found["self_consistency"] = error(self_consistency_loss(coarse, fine), data["self_consistency"])
    data = values("guided_filter.npz")
    found["guided_filter"] = error(guided_filter(data["mask"], data["image_rgb01"]), data["filtered_r9_eps1e3"])
    return found


def machine(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name()
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = [flag for flag in ("amx_bf16", "avx512_bf16", "avx512f") if flag in fields.get("flags", "").split()]
    limited = [f"limited to {os.environ['ATEN_CPU_CAPABILITY']}"] if "ATEN_CPU_CAPABILITY" in os.environ else []
    return " ".join([fields.get("model name") or platform.processor() or platform.machine(), *flags[:1], *limited])


def peak_gigabytes(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 1e9
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--backbone", default="dino_vits8", help="dino_vits8 or dino_vits16")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--precision", nargs="+", choices=["fp32", "bf16"], default=["fp32", "bf16"])
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--warm-up", type=int, default=1)
    parser.add_argument("--clock", choices=["wall", "process"], default="wall")
    parser.add_argument("--compile", action="store_true", help="also the step with compiled networks")
    parser.add_argument("--profile", action="store_true", help="also the table of where a step's time goes")
    parser.add_argument("--sweep", action="store_true", help="also batch sizes and resolutions, and the cut's memory")
    parser.add_argument("--sizes", type=int, nargs="+", default=[160, 320, 640])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--most-pixels", type=int, default=2 * 640**2, help="larger batches: the cut alone")
    parser.add_argument("--steady", type=int, default=0, help="also so many steps of a fit on generated images")
    parser.add_argument("--workers", type=int, help="processes that load them")
    parser.add_argument("--golden", type=Path, help="folder of golden values, to check them on the device first")
    parser.add_argument("--no-others", action="store_true", help="the training step alone")
    parser.add_argument("--output", type=Path, default=HERE / "results.csv")
    options = parser.parse_args()
    bench = Bench(options)
    print(f"{machine(bench.device)}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    if options.sweep:
        cut_memory(bench)  # first: on a CPU the peak of the process is all that can be read
    if options.golden:
        for name, error in golden_errors(options.golden, bench.device).items():
            print(f"golden {name}: {error:.1e}")
    data(bench)
    steps(bench)
    if not options.no_others:
        others(bench)
    if options.sweep:
        sweep(bench)
    if options.steady:
        steady(bench)
    print(f"peak memory {peak_gigabytes(bench.device):.2f} GB")
    bench.save(options.output)


if __name__ == "__main__":
    main()
