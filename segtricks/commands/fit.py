"""``segtricks fit``: train without labels, into a run folder; score before and after if asked."""

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from jsonargparse import Namespace
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import Logger

from segtricks.commands.lightning_cli import SegtricksCLI, quiet
from segtricks.commands.options import OptionParser, config_words, take_configs
from segtricks.commands.scoring import Stage, print_scores, score
from segtricks.errors import UserError
from segtricks.reports.callbacks import BadFiles, TestPanels, ValidationPanels
from segtricks.reports.loggers import finish_wandb, start_wandb, wandb_logger
from segtricks.reports.metrics_file import MetricsFile
from segtricks.reports.pictures import curve_figure, save_figure
from segtricks.runs import checkpoint_of, existing_run, new_run

USAGE = "--config CONFIG [--name NAME] [--resume] [--any.option value]"


def main(words: Sequence[str]) -> None:
    """Run the command with its option words."""
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
        checkpoint = checkpoint_of(run, "last")
        configs = configs or [str(run / "config.yaml")]
    elif configs or {"-h", "--help"} & set(rest):
        run = new_run(options.name, Path(configs[-1]).stem if configs else "run")
    else:
        raise UserError(f"fit needs a config, such as --config demo.\nUsage: segtricks fit {USAGE}")
    quiet()
    fit(run, checkpoint, [*config_words(configs), *rest])


def fit(run: Path, checkpoint: Path | None, words: Sequence[str]) -> None:
    """Train in the folder ``run``, going on from ``checkpoint`` if there is one."""
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
    run.mkdir(parents=True, exist_ok=checkpoint is not None)
    cli.save(run / "config.yaml")
    start_wandb(trainer, cli.plain_config())
    print(f"{run}: {data.describe()}\n{_parameters(cli.model)}", flush=True)

    stages = [score(cli, run, "before")] if cli.config.test == "both" and checkpoint is None else []
    if checkpoint is not None:
        metrics.truncate(int(torch.load(checkpoint, weights_only=True, map_location="cpu")["global_step"]))
    started = time.perf_counter()
    try:
        trainer.fit(cli.model, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    except SystemExit:  # Lightning's answer to Ctrl-C
        raise UserError(
            f"Stopped at step {trainer.global_step:,}. Next: segtricks fit --resume --name {run.name}"
        ) from None
    seconds = round(time.perf_counter() - started)
    print(f"Trained to step {trainer.global_step:,} in {seconds // 60} min {seconds % 60} s.", flush=True)
    if (curves := curve_figure(metrics.rows())) is not None:
        save_figure(curves, run / "figures" / "losses.png")
    if data.test:
        stages.append(score(cli, run, "after", checkpoint_of(run)))
    finish_wandb(trainer)
    _close(run, stages)


def _close(run: Path, stages: list[Stage]) -> None:
    print_scores(stages)
    figures = sorted(path.name for path in (run / "figures").glob("*.png"))
    print(f"Pictures in {run / 'figures'}: {', '.join(figures)}")
    print(f"Next: segtricks predict --run {run} --images PHOTOS --output MASKS")


def _callbacks(run: Path, config: Namespace) -> list[Callback]:
    checkpoint = partial(
        ModelCheckpoint, dirpath=run / "checkpoints", enable_version_counter=False, auto_insert_metric_name=False
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
