"""In place of ``python -m segtricks``: writes what a run would leave, in milliseconds, and notes how it was called.

``SCRIPT`` reads its orders from files in the current folder: ``fail`` and ``stop`` hold the name of a run that fails or
is interrupted, ``images`` the number of images scored.
"""

import json
import sys
from pathlib import Path

import yaml

from segtricks.cli import main
from segtricks.commands import experiment
from segtricks.experiments import run as experiment_run

SCRIPT = """
import json, os, pathlib, signal, sys, time
words = sys.argv[1:]
def after(word, default=None):
    return words[words.index(word) + 1] if word in words else default
def order(name):
    path = pathlib.Path(name)
    return path.read_text() if path.is_file() else ""
with open("calls.jsonl", "a") as file:
    tags = {key: os.environ.get(key) for key in ("WANDB_RUN_GROUP", "WANDB_JOB_TYPE", "WANDB_TAGS")}
    file.write(json.dumps({"words": words, **tags}) + "\\n")
run = pathlib.Path(after("--run") or "runs/" + after("--name"))
if "--run" not in words and "--resume" not in words and run.exists():
    sys.exit("segtricks: The run exists")
(run / "test").mkdir(parents=True, exist_ok=True)
(run / "config.yaml").touch()
if order("stop") == run.name:
    os.remove("stop")
    os.kill(os.getppid(), signal.SIGINT)
    time.sleep(60)
if order("fail") == run.name:
    print("epoch 1", "epoch 2", sep="\\r")
    print("segtricks: DUTS-TR is not here.\\nNext: segtricks data download duts-tr")
    sys.exit(2)
if words[0] == "fit":
    (run / "checkpoints").mkdir(exist_ok=True)
    (run / "checkpoints/best.ckpt").touch()
data = json.loads(after("--data.test")) if words[0] == "fit" else [after("--data")]
protocol = after("--model.protocol") or after("--protocol")
seed = int(after("--seed_everything", "0"))
for place, name in enumerate(data):
    rows = {"mask": {"iou": 0.5 + seed**2 / 100 + place / 10}, "mask + guided filter": {"iou": 0.75}}
    images = int(order("images") or 4)
    content = {"dataset": name, "protocol": {"name": protocol}, "images": images, "rows": rows}
    (run / "test" / f"{place}-{protocol}.json").write_text(json.dumps({**content, "metrics": rows["mask"]}))
"""

GRID = """
title: Fakes
protocol: fullres
data: [ecssd, voc12]
metrics: [iou]
seeds: [0, 1]
axes: {backbone: [a, b]}
runs:
  "{backbone}": {command: fit, config: sempart, options: {model.backbone: "{backbone}"}}
  "{backbone}-crop":
    command: fit
    config: sempart_tricks
    options: {model.backbone: "{backbone}", model.guided_filter: false}
  tokencut: {command: test, config: tokencut}
cells:
  - {labels: {backbone: "{backbone}", crop: false, filter: false}, run: "{backbone}", row: mask}
  - {labels: {backbone: "{backbone}", crop: true, filter: false}, run: "{backbone}-crop", row: mask}
  - {labels: {backbone: "{backbone}", crop: false, filter: true}, run: "{backbone}", row: mask + guided filter}
  - {labels: {method: TokenCut}, run: tokencut, row: mask}
"""


class Fake:
    """A folder with the grid ``mine/grid.yaml`` and the fake program."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write(GRID)
        (folder / "fake.py").write_text(SCRIPT)

    def write(self, grid: str, name: str = "mine") -> None:
        (self.folder / name).mkdir(exist_ok=True)
        (self.folder / name / "grid.yaml").write_text(grid)

    def order(self, what: str, run: str) -> None:
        (self.folder / what).write_text(run)

    def run(self, *words: str, name: str = "mine") -> int:
        return main(["experiment", f"{name}/grid.yaml", *words])

    def calls(self) -> list[list[str]]:
        """Words of every call since the last time one asked."""
        return [call["words"] for call in self.calls_with_environment()]

    def calls_with_environment(self) -> list[dict[str, object]]:
        path = self.folder / "calls.jsonl"
        calls = [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
        path.unlink(missing_ok=True)
        return calls

    def plan(self, name: str = "mine") -> dict[str, object]:
        return yaml.safe_load((self.folder / f"runs/{name}/plan.yaml").read_text())


def make_fake(tmp_path, monkeypatch):
    """Return the fake in the current folder; a fixture of the tests that want it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(experiment, "check_runs", lambda *_, **__: None)  # has tests of its own
    monkeypatch.setattr(experiment_run, "PROGRAM", [sys.executable, "-S", str(tmp_path / "fake.py")])
    return Fake(tmp_path)
