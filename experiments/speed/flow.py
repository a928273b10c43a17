"""Is reading, computing and writing overlapped, and what is left? Photographs a second of `discover`, in turns.

    python experiments/speed/flow.py --images PHOTOS [--size 160] [--method lost] [--backbone descriptor] [--repeat 3]

`one by one` reads, computes and writes in one process and thread; `overlapped` is what the command does. Then what each
part takes for a photograph when nothing runs beside it, in processor time. Rows go to flow.csv.
"""

import argparse
import csv
import io
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from datetime import date
from pathlib import Path
from unittest.mock import patch

import torch
from bench import machine

from segtricks.cli import main as segtricks
from segtricks.data import ImageFolder, fit_short_side
from segtricks.data.images import read_image
from segtricks.data.transforms import to_input
from segtricks.discovery.predictor import Discoverer
from segtricks.pseudo_labels.writer import MaskWriter

HERE = Path(__file__).parent
COLUMNS = ["date", "machine", "threads", "method", "backbone", "size", "images", "what", "repetitions", "ms_per_image"]


@contextmanager
def one_by_one() -> Iterator[None]:
    with patch.object(MaskWriter, "at_work", lambda *_: nullcontext()):
        yield


def discover(options: argparse.Namespace, workers: list[str]) -> float:
    chosen = ["--method", options.method, "--backbone", options.backbone, "--size", str(options.size)]
    with tempfile.TemporaryDirectory() as output, redirect_stdout(io.StringIO()):
        start = time.perf_counter()
        status = segtricks(["discover", "--images", str(options.images), "--output", output, *chosen, *workers])
        assert status == 0
        return time.perf_counter() - start


def parts(options: argparse.Namespace, paths: list[Path]) -> dict[str, float]:
    """Seconds of processor time for all photographs, by part."""
    discoverer = Discoverer(options.method, options.backbone)

    def spent(call: Callable[[Path], object]) -> float:
        start = time.process_time()
        for path in paths:
            call(path)
        return time.process_time() - start

    photos = {path: read_image(path) for path in paths}
    images = {path: fit_short_side(photo, options.size, discoverer.patch_size) for path, photo in photos.items()}
    inputs = {path: to_input(image[None]) for path, image in images.items()}
    masks = {path: discoverer(image) for path, image in inputs.items()}
    with tempfile.TemporaryDirectory() as output:
        writer = MaskWriter(options.images, Path(output), paths)

        def write(path: Path) -> None:
            photo = photos[path]
            writer.write(discoverer.enlarge(masks[path], photo.shape[1:])[0], photo, path)

        seconds = {
            "decode and resize": spent(lambda path: fit_short_side(read_image(path), options.size, 8)),
            "features": spent(lambda path: discoverer.backbone(inputs[path])),
            "features and method": spent(lambda path: discoverer(inputs[path])),
            "enlarge and write": spent(write),
        }
        start = time.process_time()
        writer.coco(paths, paths)
        return seconds | {"boxes": time.process_time() - start}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--method", default="lost")
    parser.add_argument("--backbone", default="descriptor")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--csv", type=Path, default=HERE / "flow.csv")
    options = parser.parse_args()
    paths = ImageFolder(options.images).images
    discover(options, [])  # imports
    seconds: dict[str, list[float]] = {"one by one": [], "overlapped": []}
    for _ in range(options.repeat):
        with one_by_one():
            seconds["one by one"].append(discover(options, ["--num_workers", "0"]))
        seconds["overlapped"].append(discover(options, []))
    ratios = [a / b for a, b in zip(*seconds.values(), strict=True)]
    print(f"overlapped: {statistics.median(ratios):.2f} times as many photographs a second ({ratios})")
    rows = {f"discover, {name}": values for name, values in seconds.items()}
    rows |= {name: [value] for name, value in parts(options, paths).items()}
    common = [date.today().isoformat(), machine(torch.device("cpu")), torch.get_num_threads()]
    common += [options.method, options.backbone, options.size, len(paths)]
    fresh = not options.csv.exists()
    with options.csv.open("a", newline="") as file:
        writer = csv.writer(file)
        if fresh:
            writer.writerow(COLUMNS)
        for name, values in rows.items():
            value = f"{statistics.median(values) / len(paths) * 1000:.2f}"
            print(f"{name:<28}{value:>10} ms")
            writer.writerow([*common, name, len(values), value])


if __name__ == "__main__":
    main()
