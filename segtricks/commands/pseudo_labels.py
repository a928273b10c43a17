"""Pseudo-labels as the first stages of ``segtricks fit``, for methods that learn more than ``--data.masks`` has."""

import json
import re
import shlex
from pathlib import Path

import torch

from segtricks.commands.lightning_cli import SegtricksCLI
from segtricks.commands.stages import finished_words, list_photographs, run_stage, training_photographs
from segtricks.data import SaliencyDataModule
from segtricks.errors import UserError
from segtricks.parallel import place
from segtricks.pseudo_labels.stages import LABELS, LabelStage
from segtricks.runs import hold_run, write_json

_PLAN = "stages.json"


def make_pseudo_labels(cli: SegtricksCLI, run: Path) -> bool:
    """Run the stages of the method that have not ended yet, and let training read what they wrote.

    The config is kept in the run's folder before, so that ``--resume --name NAME`` goes on wherever it was stopped.

    Returns:
        Whether the method has stages.

    Raises:
        UserError: a stage failed, or one that has ended had other options.
        Stopped: by Ctrl-C.
    """
    data = cli.datamodule
    given = _given(data, run)
    stages = cli.model.stages(given, run)
    if not stages:
        return False
    if not isinstance(data, SaliencyDataModule):
        raise UserError(f"{type(data).__name__} is not a segtricks.data.SaliencyDataModule, which pseudo-labels need.")
    data.check()  # photographs and test sets, before anything is made of them
    if place()[0] > 0 and _are_finished(run, stages):
        _learn_from(cli, run)
        return True
    if place()[1] > 1:
        raise UserError(
            "Pseudo-labels are made by one process: run this without a launcher, with --trainer.devices N, or make "
            "them first.\nNext: segtricks discover, classes and stuff, then fit with --data.masks MASKS"
        )
    _check_options(run, stages)
    photographs = training_photographs(data)
    device = device_words(cli.trainer.strategy.root_device)
    run.mkdir(parents=True, exist_ok=True)
    with hold_run(run):
        cli.keep(run)
        list_photographs(photographs, run)
        write_json(run / _PLAN, {"masks": given})
        for number, stage in enumerate(stages, start=1):
            if finished_words(run, stage.name) is None:
                which = f"Stage {number} of {len(stages) + 1}: {stage.name}, by segtricks {stage.words[0]}."
                print(f"{which} {stage.hint}", flush=True)
            run_stage(run, stage.name, [*stage.words, *device], stage.hint)
    labels = _learn_from(cli, run)
    print(f"The pseudo-labels are in {labels}: look at {labels}/page.html.", flush=True)
    return True


def device_words(device: torch.device) -> list[str]:
    """Return the words that make a stage use the first device of training; of Metal none, which not all stages can."""
    return ["--device", str(device)] if device.type in ("cpu", "cuda") else []


def _learn_from(cli: SegtricksCLI, run: Path) -> Path:
    """Let training read the pseudo-labels of the stages, in the config as well; return their folder."""
    labels = run / LABELS
    cli.config.data.init_args.masks = cli.datamodule.masks = str(labels)
    return labels


def _given(data: object, run: Path) -> str | None:
    """The masks that the user has, of a resumed run those that it began with."""
    masks = getattr(data, "masks", None)
    if masks is not None and str(masks) != str(run / LABELS):
        return str(masks)
    plan = run / _PLAN
    if not plan.is_file():
        return None
    known: str | None = json.loads(plan.read_text(encoding="utf-8"))["masks"]
    return known


def _are_finished(run: Path, stages: list[LabelStage]) -> bool:
    return all(finished_words(run, stage.name) is not None for stage in stages)


def _check_options(run: Path, stages: list[LabelStage]) -> None:
    """Refuse to go on from a stage that would now have other options (``UserError``)."""
    for stage in stages:
        before = finished_words(run, stage.name)
        now = shlex.join(stage.words)
        if before is not None and _without_device(before) != now:
            raise UserError(
                f"The stage {stage.name} of {run} was `segtricks {before}`,\nand now it would be `segtricks {now}`.\n"
                "Next: resume with the same options, or pass another --name, and --data.masks with what can be kept."
            )


def _without_device(command: str) -> str:
    """Leave out where a command computed: a run may go on on another machine."""
    return re.sub(r" --(device|trainer\.accelerator) \S+", "", command)
