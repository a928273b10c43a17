"""Memory of `discover` or `predict` over a long list of photographs of unequal sizes; rows in memory.csv.

    python experiments/speed/memory.py --backbone descriptor --size 64
    python experiments/speed/memory.py --command predict --run runs/NAME

Further words go to the command. The photographs are drawn: `--sizes` JPEGs of sides from 64 to 200 pixels, linked
until there are `--images`. Linux only: resident memory of the process, and of its readers, is read from /proc each
time another `--every` photographs have been written.
"""

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).parent
COLUMNS = ["command", "images", "seconds", "process_mb", "readers", "readers_mb"]


def draw(folder: Path, images: int, sizes: int) -> None:
    rng = np.random.default_rng(0)
    for i in range(images):
        path = folder / f"{i:05d}.jpg"
        if i < sizes:
            height, width = rng.integers(64, 201, 2)
            picture = rng.integers(0, 60, (height, width, 3))
            picture[height // 4 : height // 2, width // 4 : 3 * width // 4] += rng.integers(60, 190, 3)
            Image.fromarray(picture.astype(np.uint8)).save(path, quality=90)
        else:
            os.link(folder / f"{i % sizes:05d}.jpg", path)


def resident(process: int) -> float:
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))
    except (OSError, StopIteration):
        return 0.0


def children(process: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        found += [int(number) for number in task.read_text().split()]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--command", choices=("discover", "predict"), default="discover")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--sizes", type=int, default=100)
    parser.add_argument("--every", type=int, default=500)
    parser.add_argument("--csv", type=Path, default=HERE / "memory.csv")
    options, words = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as scratch:
        photos, output = Path(scratch, "photos"), Path(scratch, "masks")
        photos.mkdir()
        draw(photos, options.images, options.sizes)
        command = ["segtricks", options.command, "--images", photos, "--output", output]
        before = list(csv.reader(options.csv.open()))[1:] if options.csv.exists() else []
        with options.csv.open("w", newline="") as file:
            csv.writer(file).writerows([COLUMNS, *(row for row in before if row[0] != options.command)])
        started, marks = time.perf_counter(), 0
        child = subprocess.Popen([sys.executable, "-m", *map(str, command), *words])
        while child.poll() is None:
            written = sum(1 for _ in os.scandir(output / "overlay")) if (output / "overlay").is_dir() else 0
            if written // options.every > marks:
                marks, readers = written // options.every, children(child.pid)
                figures = [
                    time.perf_counter() - started,
                    resident(child.pid),
                    len(readers),
                    sum(map(resident, readers)),
                ]
                with options.csv.open("a", newline="") as file:
                    csv.writer(file).writerow([options.command, written, *(round(figure) for figure in figures)])
            time.sleep(0.2)
        sys.exit(child.returncode)


if __name__ == "__main__":
    main()
