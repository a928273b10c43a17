"""How fast training photographs come, beside the limits of the same machine.

    OMP_NUM_THREADS=1 python experiments/speed_data/bench.py --images PHOTOS --workers 2

Limits: as many plain processes as there are workers decode, or decode and resize, and do nothing else. All sides take
turns, round by round; figures are medians over the rounds, ratios are taken within a round. Loaders run as they do in
training, over one epoch after the other, and batches are thrown away; where a side says so, they are first finished on
the device (CUDA where there is one). An epoch has ``--epoch`` images, the photographs linked as often as that takes.
Cached: as from the second epoch on. ``results.csv`` has the rates, ``stages.csv`` where the time of an image goes.
"""

import argparse
import csv
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count, cycle
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
from PIL import Image
from torch.nn.functional import interpolate
from torch.utils.data import DataLoader

from segtricks.data import SaliencyDataModule, TrainTransform, find_images
from segtricks.data.images import read_image
from segtricks.data.loading import collate_stacked, finished
from segtricks.data.store import ImageCache
from segtricks.data.transforms import resize_short_side

HERE = Path(__file__).parent
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def decode(path: Path) -> Image.Image:
    with Image.open(path) as image:
        image.load()
        return image


def decode_and_resize(path: Path, side: int) -> torch.Tensor:
    image = torch.from_numpy(np.array(decode(path).convert("RGB"))).permute(2, 0, 1)
    scale = side / min(image.shape[1:])
    size = [int(length * scale) for length in image.shape[1:]]
    return interpolate(image[None], size, mode="bilinear", antialias=True)[0]


def plain(work: Callable[[Path], object], paths: list[Path], options: argparse.Namespace) -> float:
    """Images/s of as many processes as there are workers, which only do this."""
    context = get_context("fork")
    start, done = context.Barrier(options.workers), context.SimpleQueue()

    def run(share: list[Path]) -> None:
        torch.set_num_threads(1)  # as in the workers of a loader
        work(share[0])
        start.wait()
        begin = time.perf_counter()
        for number, path in enumerate(cycle(share), 1):
            work(path)
            if (passed := time.perf_counter() - begin) > options.seconds:
                return done.put(number / passed)

    processes = [context.Process(target=run, args=(paths[i :: options.workers],)) for i in range(options.workers)]
    for process in processes:
        process.start()
    rates = [done.get() for _ in processes]
    for process in processes:
        process.join()
    return sum(rates)


def batches(loader: DataLoader[Any]) -> Iterator[dict[str, Any]]:
    for epoch in count():
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        yield from loader


def loaded(data: SaliencyDataModule, finish: bool, options: argparse.Namespace) -> float:
    """Images/s of a training loader."""
    images, stream = 0, batches(data.train_dataloader())
    for _ in range(4 * options.workers):  # what workers do in advance, and first page faults
        next(stream)
    begin = time.perf_counter()
    while (passed := time.perf_counter() - begin) < options.seconds:
        batch = next(stream)
        images += len(batch["path"])
        if finish:
            finished(batch | {"image": batch["image"].to(DEVICE, non_blocking=True)})
    if finish and DEVICE.type == "cuda":
        torch.cuda.synchronize()
        passed = time.perf_counter() - begin
    return images / passed


def linked(paths: list[Path], number: int, folder: Path) -> Path:
    """A folder of that many links to the photographs."""
    folder.mkdir()
    for i, path in zip(range(number), cycle(paths), strict=False):
        (folder / f"{i:06d}{path.suffix}").symlink_to(path.resolve())
    return folder


def stages(paths: list[Path], options: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Milliseconds of CPU time per image of the parts of an item, in this one process."""
    transform, cache = TrainTransform(options.size), ImageCache(folder, TrainTransform(options.size).resize)
    generator = torch.Generator()
    photos = [read_image(path) for path in paths]
    resized = [resize_short_side(photo, transform.resize) for photo in photos]

    def cut(image: torch.Tensor) -> torch.Tensor:
        return transform.draw(image.shape[-2], image.shape[-1], generator).image(image)

    crops = [cut(image) for image in resized]
    items = [{"image": crop, "colors": transform.draw_colors(generator), "path": ""} for crop in crops]
    shares = [items[i : i + options.batch_size] for i in range(0, len(items), options.batch_size)]
    stacked = [collate_stacked(share, ("image", "colors", "path"), options.size) for share in shares]
    parts: dict[str, Callable[[], object]] = {
        "decode": lambda: [decode(path) for path in paths],
        "read_image (decode, EXIF, to a tensor)": lambda: [read_image(path) for path in paths],
        "resize": lambda: [resize_short_side(photo, transform.resize) for photo in photos],
        "crop and flip": lambda: [cut(image) for image in resized],
        "draw colours": lambda: [transform.draw_colors(generator) for _ in paths],
        "collate": lambda: [collate_stacked(share, ("image", "colors", "path"), options.size) for share in shares],
        "colours and normalisation, CPU": lambda: [finished(batch) for batch in stacked],
        "cached: read and crop": lambda: [cut(cache.get(path, lambda: crops[0])) for path in paths],
    }
    times: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(options.repeat):
        for name, part in parts.items():
            begin = time.process_time()  # which other jobs disturb least
            part()
            times[name].append((time.process_time() - begin) / len(paths) * 1000)
    return {name: statistics.median(values) for name, values in times.items()}


def machine() -> str:
    names = [
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    device = f", {torch.cuda.get_device_name()}" if DEVICE.type == "cuda" else ""
    load = f"load {os.getloadavg()[0]:.1f}"
    versions = f"torch {torch.__version__}, Pillow {PIL.__version__}"
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} CPUs{device}, {versions}, {load}"


def write(path: Path, rows: list[list[str]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    for row in (rows[0], ["---"] * len(rows[0]), *rows[1:]):
        print("|", " | ".join(row), "|")
    print(f"-> {path}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", required=True, help="folder of photographs")
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--epoch", type=int, default=2000, help="images of an epoch")
    parser.add_argument("--seconds", type=float, default=10, help="of one side in one round")
    parser.add_argument("--repeat", type=int, default=5, help="rounds")
    parser.add_argument("--output", type=Path, default=HERE)
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    paths = find_images(options.images)
    with tempfile.TemporaryDirectory() as folder:
        module = partial(
            SaliencyDataModule,
            train=str(linked(paths, options.epoch, Path(folder, "photographs"))),
            test=[],
            size=options.size,
            batch_size=options.batch_size,
            held_out=1,
            num_workers=options.workers,
        )
        on_workers, on_device = module(colors_on="workers"), module()
        cached = module(cache=True, cache_dir=str(kept := Path(folder, "cache")))
        cached.num_workers = 0
        for _ in cached.train_dataloader():  # fills it, in the process that the workers then come from
            pass
        cached.num_workers = options.workers
        side = TrainTransform(options.size).resize
        sides: dict[str, Callable[[], float]] = {
            "limit: decode": partial(plain, decode, paths, options),
            "limit: decode and resize": partial(plain, partial(decode_and_resize, side=side), paths, options),
            "colours in workers": partial(loaded, on_workers, False, options),
            "colours on device: loader": partial(loaded, on_device, False, options),
            f"colours on device: finished on {DEVICE.type}": partial(loaded, on_device, True, options),
            "cached: loader": partial(loaded, cached, False, options),
            f"cached: finished on {DEVICE.type}": partial(loaded, cached, True, options),
        }
        rates: dict[str, list[float]] = {name: [] for name in sides}
        for number in range(options.repeat):
            for name, measure in sides.items():
                rates[name].append(measure())
                print(f"round {number + 1}: {name}: {rates[name][-1]:.0f} images/s", flush=True)
        parts = stages(paths[:64], options, kept)

    def ratio(name: str, limit: str) -> str:
        return f"{statistics.median(a / b for a, b in zip(rates[name], rates[f'limit: {limit}'], strict=True)):.2f}"

    print(f"\n{machine()}; {options.workers} workers, {len(paths)} photographs, crops of {options.size}\n")
    rows = [["side", "images_per_s", "to_decode_and_resize", "to_decode", "workers", "machine"]]
    for name, values in rates.items():
        ratios = [ratio(name, limit) for limit in ("decode and resize", "decode")]
        rows.append([name, f"{statistics.median(values):.0f}", *ratios, str(options.workers), machine()])
    write(options.output / "results.csv", rows)
    write(options.output / "stages.csv", [["part", "cpu_ms_per_image"], *([k, f"{v:.3f}"] for k, v in parts.items())])


if __name__ == "__main__":
    main()
