"""CPU seconds from typing a command to its end, on four small pictures, and what is imported meanwhile.

    python experiments/start/run.py [--before REVISION] [--repeat 3]

Each command is a process of its own; its user and system time are added, and the least of the repetitions counts,
since other jobs only add to it. Byte code is there: every command runs once before. With ``--before`` a Git revision is
unpacked into a temporary folder and measured in turns with this one. The pictures and the run of ``report`` are made
here; ``predict`` takes the released head and needs its backbone's weights.
"""

import argparse
import csv
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
HERE_NOW = "this revision"
SIDE = 84
PYTHON = {
    "import torch": "import torch",
    "import torch, lightning, timm": "import torch, lightning.pytorch, timm",
}
COMMANDS = {
    "evaluate": "evaluate --predictions masks --targets masks --workers 1",
    "refine": "refine --masks masks --images photos --output refined --workers 1",
    "predict": "predict --images photos --output predicted --overwrite --data.size 56 --data.num_workers 0",
    "discover": "discover --images photos --output found --overwrite --backbone descriptor --num_workers 0",
    "report": "report run",
    "evaluate --help": "evaluate --help",
    "typo: evaluate --predictons": "evaluate --predictons masks",
    "typo: predict --data.siez": "predict --images photos --output predicted --data.siez 56",
    "typo: fit --model.tua": "fit --config synthetic --model.tua 0.3",
    "typo: cluster --iamges": "cluster --iamges photos",
}
IMPORTS = ("evaluate", "refine", "predict", "report")
SHOWN = 8


def pictures(folder: Path) -> None:
    """Make four photographs of a bright disc, and their masks."""
    y, x = np.mgrid[:SIDE, :SIDE]
    for number in range(4):
        mask = (x - 30 - 5 * number) ** 2 + (y - 40) ** 2 < (12 + 2 * number) ** 2
        noise = np.random.default_rng(number).integers(0, 60, (SIDE, SIDE, 3))
        for name, array in (("photos", noise + 180 * mask[..., None]), ("masks", 255 * mask)):
            path = folder / name / f"{number}.{'jpg' if name == 'photos' else 'png'}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array.astype(np.uint8)).save(path)


def scored_run(folder: Path, environment: dict[str, str]) -> None:
    """Make a run folder for ``report``: the masks scored against themselves by ``segtricks test`` without training."""
    words = "test --config tokencut --model.backbone descriptor --data photos --data.masks masks --name run"
    command = [sys.executable, "-m", "segtricks", *words.split(), "--data.num_workers", "0"]
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)


def seconds(words: list[str], folder: Path, environment: dict[str, str]) -> tuple[float, str]:
    """User and system time of a process, and what it wrote to its standard error."""
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(words, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        return usage.ru_utime + usage.ru_stime, errors.read()


def unpacked(revision: str, folder: Path) -> Path:
    """Unpack a revision of this repository."""
    archive = subprocess.run(["git", "archive", revision], cwd=ROOT, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="data")
    return folder


def imported(text: str) -> Counter[str]:
    """Percent of the time of all imports by package, from ``-X importtime``; of torch the parts that compile apart."""
    found: Counter[str] = Counter()
    for own, name in re.findall(r"^import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)", text, re.MULTILINE):
        parts = name.split(".")
        compiles = parts[:2] in (["torch", "_dynamo"], ["torch", "_inductor"])
        found[".".join(parts[:2]) if compiles else parts[0]] += int(own)
    total = max(1, found.total())
    return Counter({name: round(100 * own / total) for name, own in found.items()})


def main() -> None:
    """Measure everything and write results.csv and imports.csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", metavar="REVISION", help="also measure this Git revision")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=(*PYTHON, *COMMANDS), metavar="COMMAND", help="rows to measure")
    parser.add_argument("--output", type=Path, default=HERE)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        pictures(work)
        sides = {HERE_NOW: ROOT}
        if options.before:
            sides = {options.before: unpacked(options.before, work / "before")} | sides
        common = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        environments = {side: common | {"PYTHONPATH": str(path)} for side, path in sides.items()}
        only = options.only or (*PYTHON, *COMMANDS)
        if "report" in only:
            scored_run(work, environments[HERE_NOW])
        measure(only, work, environments, options.repeat, options.output)


def measure(
    only: Sequence[str], work: Path, environments: dict[str, dict[str, str]], repeat: int, output: Path
) -> None:
    """Measure every command of every side, and write the tables."""
    segtricks = [sys.executable, "-X", "importtime", "-m", "segtricks"]
    imports, rows = [], []
    commands = {name: [sys.executable, "-c", code] for name, code in PYTHON.items()}
    commands |= {name: [sys.executable, "-m", "segtricks", *line.split()] for name, line in COMMANDS.items()}
    for name in only:
        words = commands[name]
        times: dict[str, list[float]] = {side: [] for side in environments}
        for side, environment in environments.items():
            if name in IMPORTS:
                packages = imported(seconds([*segtricks, *COMMANDS[name].split()], work, environment)[1])
                imports += [[name, side, package, own] for package, own in packages.most_common(SHOWN)]
            else:
                seconds(words, work, environment)
        for _ in range(repeat):
            for side, environment in environments.items():
                times[side].append(seconds(words, work, environment)[0])
        rows += [[name, side, f"{min(found):.2f}"] for side, found in times.items()]
        print(name, json.dumps({side: round(min(found), 2) for side, found in times.items()}), flush=True)
    write(output / "results.csv", ["command", "side", "cpu_seconds"], rows)
    write(output / "imports.csv", ["command", "side", "package", "percent"], imports)


def write(path: Path, header: list[str], rows: list[list[object]]) -> None:
    """Write a table."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


if __name__ == "__main__":
    main()
