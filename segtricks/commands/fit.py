"""``segtricks fit``: train without labels, into a run folder; score before and after if asked."""

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from jsonargparse import Namespace
from lightning.pytorch import Callback
from lightning.pytorch.loggers import Logger

from segtricks.commands.helping import show_help, wants_help
from segtricks.commands.lightning_cli import SegtricksCLI, quiet
from segtricks.commands.options import OptionParser, config_name, config_words, take_configs
from segtricks.commands.scoring import Stage, print_scores, score
from segtricks.errors import Stopped, UserError
from segtricks.methods.checkpoints import check_identity, read_checkpoint
from segtricks.reports.callbacks import BadFiles, RunCheckpoint, TestPanels, ValidationPanels
from segtricks.reports.loggers import finish_wandb, start_wandb, wandb_logger
from segtricks.reports.metrics_file import MetricsFile
from segtricks.reports.pictures import curve_figure, save_figure
from segtricks.runs import checkpoint_of, existing_run, new_run

USAGE = "--config CONFIG [--name NAME] [--resume] [--any.option value]"


def main(words: Sequence[str]) -> None:
    """Run the command with its option words."""
    if wants_help(words):
        return show_help("fit", USAGE)
    parser = OptionParser("fit", USAGE)
    parser.add_argument("--name")
    parser.add_argument("--resume", action="store_true")
    configs, words = take_configs(words)
    options, rest = parser.parse_known_args(words)
    checkpoint = None
    if options.resume:
        if options.name is None:
            raise UserError("Which run shall go on? Pass --name NAME beside --resume.")
        run = existing_run(options.name)
        checkpoint = run / "checkpoints" / "last.ckpt"
        if not checkpoint.is_file():
            print(f"{run} holds no checkpoint yet: starting at step 0.")
            checkpoint = None
        configs = configs or [str(run / "config.yaml")]
    elif configs:
        run = new_run(options.name, config_name(configs[-1]))
    else:
        raise UserError(f"fit needs a config, such as --config demo.\nUsage: segtricks fit {USAGE}")
    quiet()
    fit(run, checkpoint, [*config_words(configs), *rest], options.resume)


def fit(run: Path, checkpoint: Path | None, words: Sequence[str], resume: bool = False) -> None:
    """Train in the folder ``run``, new unless ``resume``, going on from ``checkpoint`` if there is one."""
    metrics = MetricsFile(run)
    cli = SegtricksCLI(
        words,
        callbacks=lambda config: _callbacks(run, config),
        loggers=lambda config: [metrics, *_wandb(run, config)],
        default_root_dir=str(run),
    )
    data, trainer = cli.saliency_data, cli.trainer
    if cli.config.test == "none":
        data.test = []
    data.check()
    # Nothing of a run is touched before it is sure that it can go on.
    step = 0
    if checkpoint is not None:
        content = read_checkpoint(checkpoint)
        check_identity(content, cli.model.identity())
        step = int(content["global_step"])
    run.mkdir(parents=True, exist_ok=resume)
    cli.save(run / "config.yaml")
    start_wandb(trainer, cli.plain_config())
    print(f"{run}: {data.describe()}\n{_parameters(cli.model)}", flush=True)

    stages = [score(cli, run, "before")] if cli.config.test == "both" and checkpoint is None else []
    if resume:
        metrics.truncate(step)
    started = time.perf_counter()
    try:
        trainer.fit(cli.model, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    except SystemExit:  # Lightning's answer to Ctrl-C
        print()
        raise Stopped(
            f"Stopped at step {trainer.global_step:,}. Next: segtricks fit --resume --name {run.name}"
        ) from None
    seconds = round(time.perf_counter() - started)
    print(f"Trained to step {trainer.global_step:,} in {seconds // 60} min {seconds % 60} s.", flush=True)
    if (curves := curve_figure(metrics.rows())) is not None:
        save_figure(curves, run / "figures" / "losses.png")
    if data.test:
        try:
            stages.append(score(cli, run, "after", checkpoint_of(run)))
        except UserError as error:
            told = str(error).splitlines()[0]
            raise UserError(f"The model is trained, but: {told}\nNext: segtricks test --run {run}") from error
    finish_wandb(trainer)
    _close(run, stages)


def _close(run: Path, stages: list[Stage]) -> None:
    print_scores(stages)
    figures = sorted(path.name for path in (run / "figures").glob("[!.]*.png"))
    print(f"Pictures in {run / 'figures'}: {', '.join(figures)}")
    print(f"Next: segtricks predict --run {run} --images PHOTOS --output MASKS")


def _callbacks(run: Path, config: Namespace) -> list[Callback]:
    checkpoint = partial(
        RunCheckpoint, dirpath=run / "checkpoints", enable_version_counter=False, auto_insert_metric_name=False
    )
    return [
        ValidationPanels(run, config.panels),
        TestPanels(run, config.panels),
        BadFiles(config.max_bad_share),
        checkpoint(filename="best", monitor="val/loss", mode="min"),
        checkpoint(filename="last", every_n_train_steps=config.save_every),
        checkpoint(filename="last", save_on_train_epoch_end=True),
    ]


def _wandb(run: Path, config: Namespace) -> list[Logger]:
    return [] if config.wandb == "off" else [wandb_logger(run, config.wandb)]


def _parameters(module: torch.nn.Module) -> str:
    trained = sum(p.numel() for p in module.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in module.parameters() if not p.requires_grad)
    return f"{trained:,} parameters to train, {frozen:,} frozen"
