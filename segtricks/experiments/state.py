"""The folder of an experiment: its runs, which of them are finished, its plan, and what it shares with others."""

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from segtricks.errors import UserError
from segtricks.experiments.plan import Plan, Run
from segtricks.experiments.words import as_text, option_pairs
from segtricks.runs import RUNS, checkpoint_of, replacing
from segtricks.scoring.results import is_before, read_json, result_files

FINISHED = "finished"  # an empty file in a run's folder: whoever tests a half-trained run does not finish it

# What a table may be continued with otherwise: no figure depends on it.
_FREE = re.compile(
    r"data\.(root|num_workers|cache|cache_dir)|trainer\.(enable_\w+|accelerator|logger)|wandb|panels|save_every"
)


@dataclass(frozen=True)
class Experiment:
    """A plan and its folder ``runs/NAME``."""

    name: str
    plan: Plan
    again: str = field(default="", compare=False)

    @property
    def home(self) -> Path:
        """The folder of everything."""
        return RUNS / self.name

    def folder(self, run: Run) -> Path:
        """Return the folder of a run."""
        return self.home / run.name

    def log(self, run: Run) -> Path:
        """Return the file that takes the output of a run."""
        return self.home / "logs" / f"{run.name}.log"

    def is_trained(self, run: Run) -> bool:
        """Tell whether a run ended as it should."""
        return (self.folder(run) / FINISHED).is_file()

    def is_finished(self, run: Run) -> bool:
        """Tell whether a run ended as it should and all its results are there."""
        return self.is_trained(run) and len(self.results(run)) == len(run.data)

    def results(self, run: Run) -> dict[str, dict[str, Any]]:
        """Return the content of a run's result files by data set, where they hold every row that a cell needs.

        Those of an earlier checkpoint are left out.
        """
        folder = self.folder(run)
        scored = checkpoint_of(folder).stat().st_mtime if (folder / "checkpoints").is_dir() else 0.0
        rows = {cell.row for cell in self.plan.cells_of(run)}
        found: dict[str, dict[str, Any]] = {}
        for file in result_files(folder):
            if file.stat().st_mtime < scored or is_before(file):
                continue
            content = read_json(file)
            protocol = content.get("protocol", {})
            # Of masks from elsewhere, none are turned over; results that were by another rule are made again.
            polarities = ("none", wanted := _polarity(run.protocol))
            known = protocol.get("name") == run.protocol and protocol.get("polarity", wanted) in polarities
            if known and rows <= set(content.get("rows", ())):
                found[content["dataset"]] = content
        names = {data: data if data in found else Path(data).name for data in run.data}
        return {data: found[name] for data, name in names.items() if name in found}

    def next_words(self, run: Run) -> list[str]:
        """Return the command that brings a run nearer to its end: the first time, after a stop, or to score it."""
        folder = self.folder(run)
        if run.command == "fit" and self.is_trained(run):
            return ["test", "--run", str(folder), *run.words, *run.scoring_words()]
        resume = ["--resume"] if run.command == "fit" and (folder / "config.yaml").is_file() else []
        return [*run.command_line(self.name), *resume]

    def environment(self, run: Run) -> dict[str, str]:
        """Return what groups the runs at Weights & Biases.

        The experiment is the group, the run's name without its seed the job type, and the labels of its cells the tags.
        """
        labels = [f"{key}={as_text(value)}" for cell in self.plan.cells_of(run) for key, value in cell.labels.items()]
        # A tag has at most 64 letters, and an empty one stops the run; commas stand between tags.
        tags = list(dict.fromkeys(label.replace(",", ";")[:64] for label in labels))
        grouped = {"WANDB_RUN_GROUP": self.name, "WANDB_JOB_TYPE": run.base}
        return grouped | ({"WANDB_TAGS": ",".join(tags)} if tags else {})

    def clear(self, run: Run) -> None:
        """Remove what a run without training has left, as it cannot go on, and a link to a run that is gone."""
        folder = self.folder(run)
        if folder.is_symlink() and (run.command != "fit" or not folder.exists()):
            folder.unlink()
        elif run.command != "fit" and folder.is_dir():
            shutil.rmtree(folder)


def write_plan(experiment: Experiment) -> None:
    """Write ``plan.yaml``, unless the folder was made with other options.

    Further runs, such as those of more seeds, may be added.

    Raises:
        UserError: a run of the plan that is there is missing here, or has other options; the message names them.
    """
    path = experiment.home / "plan.yaml"
    content = as_plain(experiment)
    if path.is_file():
        way_out = f"Next: the same options as before, or another --name.\nBefore: {path}"
        for name, run in yaml.safe_load(path.read_text(encoding="utf-8"))["runs"].items():
            now = content["runs"].get(name)
            if now is None:
                raise UserError(f"{experiment.home} also holds the run {name}, which is not asked for now.\n{way_out}")
            if told := _difference(_options(run), _options(now)):
                raise UserError(f"{experiment.home} was made with other options: {name} {told}.\n{way_out}")
    with replacing(path) as temporary:
        temporary.write_text(yaml.safe_dump(content, sort_keys=False, width=120), encoding="utf-8")


def as_plain(experiment: Experiment) -> dict[str, Any]:
    """Return the whole plan as plain data."""
    plan = experiment.plan
    runs = {
        run.name: {
            "command": run.command,
            "config": run.config,
            "options": option_pairs(run.words),
            "seed": run.seed,
            "data": list(run.data),
            "protocol": run.protocol,
        }
        for run in plan.runs.values()
    }
    cells = [{"labels": cell.labels, "run": cell.run, "row": cell.row} for cell in plan.cells]
    return {"title": plan.grid.title, "paper": plan.grid.paper, "runs": runs, "cells": cells}


def reuse(experiment: Experiment, folders: Sequence[Path]) -> list[str]:
    """Link to the finished runs of other experiments that train, or score without training, the same; name them.

    Raises:
        UserError: a folder is no experiment's.
    """
    linked = []
    own = as_plain(experiment)["runs"]
    for folder in folders:
        path = folder / "plan.yaml"
        if not path.is_file():
            raise UserError(f"--reuse {folder}: it holds no plan.yaml.\nNext: pass a folder of segtricks experiment.")
        for name, run in yaml.safe_load(path.read_text(encoding="utf-8"))["runs"].items():
            if not (folder / name / FINISHED).is_file():
                continue
            for mine, wanted in own.items():
                place = experiment.home / mine
                if not place.exists() and not _difference(_essence(run), _essence(wanted)):
                    place.symlink_to(os.path.relpath(folder / name, place.parent), target_is_directory=True)
                    linked.append(f"{mine} from {folder / name}")
    return linked


def _polarity(protocol: str) -> str:
    from segtricks.metrics import get_protocol  # imports torch, which a dry run can do without

    return get_protocol(protocol).polarity


def _options(run: Mapping[str, Any]) -> dict[str, str]:
    given = {key: as_text(value) for key, value in run["options"].items() if not _FREE.fullmatch(key)}
    return given | {key: as_text(run[key]) for key in ("command", "config", "seed", "data", "protocol")}


def _essence(run: Mapping[str, Any]) -> dict[str, str]:
    """What makes a run this run: of a training, what decides its weights, and not how they are scored."""
    scoring = ("data", "protocol", "data.test_limit", "model.bilateral_preset", "model.refine_at")
    without = scoring if run["command"] == "fit" else ()
    return {key: value for key, value in _options(run).items() if key not in without}


def _difference(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    for key in dict.fromkeys([*before, *now]):
        if before.get(key) != now.get(key):
            return f"{key} {before.get(key, 'not given')}, now {now.get(key, 'not given')}"
    return ""
