"""What ``segtricks fit`` does with its options."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse import Namespace
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import Logger

from segtricks.commands.demo import demo_explained
from segtricks.commands.lightning_cli import SegtricksCLI, quiet
from segtricks.commands.options import (
    config_name,
    config_words,
)
from segtricks.commands.pseudo_labels import make_pseudo_labels
from segtricks.commands.scoring import Stage, print_scores, score
from segtricks.errors import Stopped, UserError, worker_death
from segtricks.methods.trainable import Trainable
from segtricks.parallel import one_voice, place
from segtricks.reports.figures import curve_figure, save_figure
from segtricks.reports.test_images import TestDashboard, TestExamples, TestPanels, ValidationPanels
from segtricks.runs import check_unused, checkpoint_of, chosen_run, existing_run, flat, hold_run, new_run_of_all, sweep
from segtricks.training.bad_files import BadFiles
from segtricks.training.checkpoint_files import CheckpointFiles, newest_checkpoint
from segtricks.training.checkpoints import check_groups, check_identity, read_checkpoint
from segtricks.training.health import Health
from segtricks.training.loggers import asked_loggers, finish_loggers, start_loggers, wandb_logger
from segtricks.training.metrics_file import MetricsFile
from segtricks.training.resuming import KeepConfig, KeepProvenance, StepSeeds, StopAtStep, StopSignals, resume_words
from segtricks.training.run_checkpoint import RunCheckpoint


def train(options: Namespace, configs: list[str], rest: list[str], usage: str) -> None:
    """Train in a run folder, new or to go on with.

    Raises:
        UserError: no config, no such run, or the run failed.
        Stopped: by Ctrl-C or a signal.
    """
    with one_voice():
        run, resume = _choose(options.name, options.resume, configs, usage)
        checkpoint = None
        if resume:
            checkpoint, damaged = newest_checkpoint(run)
            for message in damaged:
                print(message)
            print(f"{run} goes on from {checkpoint}." if checkpoint else f"{run} holds no checkpoint yet: from step 0.")
            configs = configs or [str(run / "config.yaml")]
        quiet()
        with demo_explained(configs):
            _fit(run, checkpoint, [*config_words(configs), *rest], resume)


def _choose(name: str | None, resume: bool, configs: list[str], usage: str) -> tuple[Path, bool]:
    """Return the run folder, and whether a run in it goes on."""
    if resume and name is None:
        raise UserError("Which run shall go on? Pass --name NAME together with --resume.")
    if not configs and not resume:
        raise UserError(f"fit needs a config, such as --config demo.\nUsage: segtricks fit {usage}")
    if resume and name is not None:
        try:
            return existing_run(name), True
        except UserError:
            if not configs:
                raise
    return new_run_of_all(name, config_name(configs[-1])), False


def _fit(run: Path, checkpoint: Path | None, words: Sequence[str], resume: bool = False) -> None:
    """Train in the folder ``run``, new unless ``resume``, going on from ``checkpoint`` if there is one."""
    metrics = MetricsFile(run)
    cli = SegtricksCLI(
        words,
        callbacks=lambda config: _callbacks(run, config),
        loggers=lambda config: [metrics, *_wandb(run, config)],
        default_root_dir=str(run),
    )
    data, trainer = cli.run_data, cli.trainer
    if cli.config.test == "none":
        data.test = []
    staged = make_pseudo_labels(cli, run)
    cli.ask_for_targets()
    data.check()
    config = cli.plain_config()
    # Nothing of a run is touched before it is sure that it can go on.
    step, before = _earlier(run, checkpoint, cli) if resume else (0, config)
    for change in differences(before, config):
        print(f"changed since step {step:,}: {change}")
    trainer.loggers = [*trainer.loggers, *asked_loggers(cli.config_init.trainer.logger, run, step if resume else None)]
    trainer.callbacks.append(KeepConfig(config))  # type: ignore[attr-defined]
    if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
        trainer.strategy.checkpoint_io = CheckpointFiles()
    first = place()[0] == 0
    if first:
        run.mkdir(parents=True, exist_ok=True)
    with _held(run) if first else nullcontext():
        if first:
            if not resume and not staged:  # another process may have been quicker
                check_unused(run)
            _begin(cli, run, config)
        print(f"{run}: {data.describe()}\n{_parameters(cli.model)}", flush=True)
        try:
            with _ways_on(trainer, run):
                stages = _train(cli, run, checkpoint, metrics, step if resume else None)
        except Stopped:
            if first:
                raise
            return
        finish_loggers(trainer)
        if first:
            _close(run, stages, _advice(cli))


def _earlier(run: Path, checkpoint: Path | None, cli: SegtricksCLI) -> tuple[int, dict[str, Any]]:
    """Return the step that a resumed run goes on from, and the config it had.

    Raises:
        UserError: the checkpoint belongs to another network.
    """
    if checkpoint is None:
        return 0, yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    content = read_checkpoint(checkpoint)
    check_identity(content, cli.model.identity())
    if isinstance(cli.model, Trainable):
        check_groups(content, cli.model.new_optimizer())
    StopAtStep.instead_of_max_steps(cli.trainer, content)
    return int(content["global_step"]), content.get("config", cli.plain_config())


def _begin(cli: SegtricksCLI, run: Path, config: dict[str, Any]) -> None:
    """Write the config into the run folder, and keep what the run finds out in it."""
    sweep(run / "checkpoints")
    cli.keep(run)
    cli.trainer.callbacks.append(KeepProvenance(lambda: cli.keep(run)))  # type: ignore[attr-defined]
    start_loggers(cli.trainer, config, run)


@contextmanager
def _ways_on(trainer: Trainer, run: Path) -> Iterator[None]:
    """Let a stop and a full disk end with how to go on.

    Raises:
        Stopped: by Ctrl-C or a signal.
        UserError: a file could not be written.
    """
    try:
        yield
    except (SystemExit, RuntimeError) as error:  # Lightning's answer to Ctrl-C, and to signals while it scores
        if isinstance(error, RuntimeError) and worker_death(error) != "Terminated":
            raise
        print()
        raise Stopped(f"Stopped at step {trainer.global_step:,}{_kept(run)}. {resume_words(run)}") from None
    except OSError as error:
        raise UserError(
            f"Stopped at step {trainer.global_step:,}: {error.filename or run} could not be written "
            f"({error.strerror or error}); what was there is untouched.\n{resume_words(run)}, once there is room."
        ) from error


@contextmanager
def _held(run: Path) -> Iterator[None]:
    """Hold the run, and pass its name to the processes that Lightning starts meanwhile."""
    with hold_run(run), chosen_run(run):
        yield


def _train(
    cli: SegtricksCLI, run: Path, checkpoint: Path | None, metrics: MetricsFile, step: int | None
) -> list[Stage]:
    """Score, train and score again; ``step`` is where a resumed run goes on.

    Raises:
        Stopped: a signal.
        UserError: the model is trained and cannot be scored.
    """
    data, trainer = cli.run_data, cli.trainer
    stages = [score(cli, run, "before")] if cli.config.test == "both" and checkpoint is None else []
    if step is not None:
        metrics.truncate(step)
    started = time.perf_counter()
    trainer.fit(cli.model, datamodule=cli.datamodule, ckpt_path=checkpoint, weights_only=True)
    seconds = round(time.perf_counter() - started)
    if trainer.is_global_zero:  # here too, for a run that was killed after its last step trains no more
        cli.keep(run)
    print(f"Trained to step {trainer.global_step:,} in {seconds // 60} min {seconds % 60} s.", flush=True)
    if trainer.is_global_zero and (curves := curve_figure(metrics.rows())) is not None:
        save_figure(curves, run / "figures" / "losses.png")
    if data.test:
        try:
            stages.append(score(cli, run, "after", checkpoint_of(run)))
        except UserError as error:
            message = str(error).splitlines()[0]
            raise UserError(f"The model is trained, but: {message}\nNext: segtricks test --run {run}") from error
    return stages


def _kept(run: Path) -> str:
    """Return what a resumed run will start from, in words."""
    checkpoint = newest_checkpoint(run)[0]
    if checkpoint is None:
        return ", before its first checkpoint"
    return f"; the last checkpoint is of step {int(read_checkpoint(checkpoint)['global_step']):,}"


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return ``option: old -> new`` for every option that differs between two configs as plain data."""
    old, new = _flat_options(before), _flat_options(now)
    keys = [key for key in dict.fromkeys([*old, *new]) if old.get(key) != new.get(key)]
    return [f"{key}: {_shown(old, key)} -> {_shown(new, key)}" for key in keys]


def _flat_options(config: dict[str, Any]) -> dict[str, Any]:
    return flat({key: value for key, value in config.items() if key != "provenance"})


def _shown(flat: dict[str, Any], key: str) -> str:
    value = flat.get(key, "not given")
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _advice(cli: SegtricksCLI) -> str | None:
    """What the health of the run suggests instead of using it; None where it is well."""
    return next((callback.advice for callback in cli.trainer.callbacks if isinstance(callback, Health)), None)  # type: ignore[attr-defined]


def _close(run: Path, stages: list[Stage], advice: str | None) -> None:
    print_scores(stages)
    figures = sorted(path.name for path in (run / "figures").glob("[!.]*.png"))
    if figures:
        print(f"Pictures in {run / 'figures'}: {', '.join(figures)}")
    if any((run / "wandb").glob("offline-run-*")):
        print(f"For Weights & Biases: wandb sync {run}/wandb/offline-run-*")
    print(f"Next: {advice or f'segtricks predict --run {run} --images PHOTOS --output MASKS'}")


def _callbacks(run: Path, config: Namespace) -> list[Callback]:
    checkpoint = partial(
        RunCheckpoint, dirpath=run / "checkpoints", enable_version_counter=False, auto_insert_metric_name=False
    )
    return [
        ValidationPanels(run, config.panels),
        TestPanels(run, config.panels),
        TestExamples(run),
        TestDashboard(run),
        BadFiles(config.max_bad_share),
        Health(config.on_collapse),
        checkpoint(filename="best", monitor="val/loss", mode="min"),
        checkpoint(filename="last", every_n_train_steps=config.save_every),
        checkpoint(filename="last", save_on_train_epoch_end=True),
        StepSeeds(config.seed_everything),
        StopSignals(run),
    ]


def _wandb(run: Path, config: Namespace) -> list[Logger]:
    return [] if config.wandb == "off" else [wandb_logger(run, config.wandb)]


def _parameters(module: torch.nn.Module) -> str:
    trained = sum(p.numel() for p in module.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in module.parameters() if not p.requires_grad)
    return f"{trained:,} parameters to train, {frozen:,} frozen"
