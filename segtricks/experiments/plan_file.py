"""``plan.yaml`` in the folder of an experiment: what was asked for, and what two experiments have in common."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from segtricks.errors import UserError
from segtricks.experiments.plan import Plan, as_text, option_pairs
from segtricks.experiments.run import FINISHED, Experiment
from segtricks.packaged import find_config, read_yaml
from segtricks.runs import replacing

# No number depends on these, or the plan has them in another place.
_FREE = re.compile(
    r"data\.(root|num_workers|cache|cache_dir|test)|trainer\.(enable_\w+|accelerator|logger)"
    r"|wandb|panels|save_every|seed_everything|model\.protocol"
)
_OF_SCORING = ("data", "protocol")  # results name them, and those of others are not taken
_PRESET = "model.bilateral_preset"  # adds a row: without it the row is missing, and scored again


def write_plan(experiment: Experiment) -> None:
    """Write ``plan.yaml``, unless the folder was made with other options.

    Further runs, such as those of more seeds, may be added. Configs are compared by their content, wherever they lie.

    Raises:
        UserError: a run of the plan that is there is missing here, or has other options; the message names them.
    """
    path = experiment.home / "plan.yaml"
    plan = as_plain(experiment.plan)
    if path.is_file():
        before = yaml.safe_load(path.read_text(encoding="utf-8"))
        way_out = f"Next: the same options as before, or another --name.\nBefore: {path}"
        for name in before["runs"]:
            if name not in plan["runs"]:
                raise UserError(f"{experiment.home} also holds the run {name}, which is not asked for now.\n{way_out}")
            if found := _difference(before, name, plan, name):
                raise UserError(f"{experiment.home} was made with other options: {name} {found}.\n{way_out}")
    with replacing(path) as temporary:
        temporary.write_text(yaml.safe_dump(plan, sort_keys=False, width=120), encoding="utf-8")


def as_plain(plan: Plan) -> dict[str, Any]:
    """Return the whole plan as plain data, with the content of the configs."""
    runs: dict[str, Any] = {}
    for run in plan.runs.values():
        runs[run.name] = {"command": run.command, "config": run.config, "options": option_pairs(run.words)}
        runs[run.name] |= {"seed": run.seed, "data": list(run.data), "protocol": run.protocol}
    names = dict.fromkeys(run.config for run in plan.runs.values() if run.command != "masks")
    configs = {name: read_yaml(find_config(name), "trainer: {max_epochs: 5}") for name in names}
    cells = [vars(cell) for cell in plan.cells]
    return {"title": plan.grid.title, "paper": plan.grid.paper, "runs": runs, "cells": cells, "configs": configs}


def reuse(experiment: Experiment, folders: Sequence[Path]) -> list[str]:
    """Link to the finished runs of other experiments that train, or score without training, the same; return which.

    Raises:
        UserError: a folder is not that of an experiment, or the system refuses links.
    """
    linked = []
    plan = as_plain(experiment.plan)
    for folder in folders:
        path = folder / "plan.yaml"
        if not path.is_file():
            raise UserError(f"--reuse {folder}: it holds no plan.yaml.\nNext: pass a folder of segtricks experiment.")
        other = yaml.safe_load(path.read_text(encoding="utf-8"))
        finished = [name for name in other["runs"] if (folder / name / FINISHED).is_file()]
        for name in finished:
            for mine in plan["runs"]:
                link = experiment.home / mine
                fit = other["runs"][name]["command"] == "fit"
                if link.exists() or _difference(other, name, plan, mine, fit):
                    continue
                _link(link, folder / name)
                linked.append(f"{mine} from {folder / name}")
    return linked


def _link(link: Path, folder: Path) -> None:
    try:
        link.symlink_to(os.path.relpath(folder, link.parent), target_is_directory=True)
    except (OSError, ValueError) as error:  # ValueError: two drives of Windows
        raise UserError(
            f"--reuse {folder.parent}: {link} cannot be a link ({error}). On Windows, links need the developer "
            "mode, and both folders on one drive.\nNext: allow links, or leave out --reuse."
        ) from error


def _difference(before: Any, name: str, now: Any, mine: str, trained: bool = False) -> str:
    """The first option in which two runs of two plans differ; empty if there is none.

    Of ``trained`` runs, what their scores say, or lack, is left out.
    """
    known = "configs" in before  # earlier versions compared nothing but the path of a config
    one = _options(before["runs"][name], before["configs"] if known else {})
    other = _options(now["runs"][mine], now["configs"] if known else {})
    for key in dict.fromkeys([*one, *other]):
        rescored = key in _OF_SCORING or (key == _PRESET and {one.get(key), other.get(key)} & {None, "null"})
        if one.get(key) != other.get(key) and not (trained and rescored):
            return f"{key} {one.get(key, 'not given')}, now {other.get(key, 'not given')}"
    return ""


def _options(run: Mapping[str, Any], configs: Mapping[str, Any]) -> dict[str, str]:
    if run["config"] in configs:
        config = _flat(configs[run["config"]])
    else:
        config = {"config": run["config"] if run["command"] == "masks" else Path(run["config"]).stem}
    given = {key: as_text(value) for key, value in {**config, **run["options"]}.items() if not _FREE.fullmatch(key)}
    return given | {key: as_text(run[key]) for key in ("command", "seed", "data", "protocol")}


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """A config as one level, with the names of the command line: ``model.tau``, ``model.optimizer.lr``."""
    if not isinstance(value, Mapping):
        return {name: value}
    found: dict[str, Any] = {}
    for key, inner in value.items():
        found |= _flat(inner, name if key == "init_args" else f"{name}.{key}".lstrip("."))
    return found
