"""What ``segtricks test`` does with its options."""

from argparse import Namespace
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from segtricks.commands.lightning_cli import SegtricksCLI, quiet
from segtricks.commands.options import (
    NO_MODEL,
    config_words,
    run_words,
)
from segtricks.commands.scoring import print_scores, score
from segtricks.errors import UserError
from segtricks.methods.foreground import find_sign
from segtricks.methods.released import CONFIG as RELEASED
from segtricks.methods.released import load_released_weights
from segtricks.parallel import place
from segtricks.reports.test_images import TestDashboard, TestExamples, TestPanels
from segtricks.runs import chosen_run, is_begun, new_run_of_all
from segtricks.training.bad_files import BadFiles
from segtricks.training.checkpoints import read_checkpoint
from segtricks.training.hub_runs import shared_address
from segtricks.training.loggers import finish_loggers, start_loggers, wandb_logger


def score_run(options: Namespace, configs: list[str], rest: list[str]) -> None:
    """Score the model of parsed options, into its run folder.

    Raises:
        UserError: options that do not go together, no such model, or nothing to test on.
    """
    folder, model_words, checkpoint = _chosen(options, configs)
    if options.data:
        rest += [f"--data.test=[{','.join(map(_quoted, options.data))}]"]
    if options.protocol:
        rest += ["--model.protocol", options.protocol]
    quiet()
    cli = SegtricksCLI(
        [*model_words, *rest],
        callbacks=lambda config: [
            TestPanels(folder, config.panels),
            TestExamples(folder),
            TestDashboard(folder),
            BadFiles(config.max_bad_share),
        ],
        # A trained run has its own at Weights & Biases: a test of it logs there only when asked for.
        loggers=lambda config: (
            [wandb_logger(folder, config.wandb, "test")]
            if config.wandb != "off" and (checkpoint is None or _says(rest, "--wandb"))
            else []
        ),
        command="test",
        default_root_dir=str(folder),
        enable_checkpointing=False,
    )
    if cli.model.target_kind is not None and not _says(rest, "--data.masks"):
        cli.run_data.masks = None  # the run's are pseudo-labels, not the truth
    _make_ready(cli, folder, checkpoint, options.released)
    if cli.trainer.is_global_zero:
        start_loggers(cli.trainer, cli.plain_config())
    with chosen_run(folder):
        stage = score(cli, folder, checkpoint=checkpoint)
    finish_loggers(cli.trainer)
    print_scores([stage])
    print(f"Figures as JSON in {folder / 'test'}, pictures in {folder / 'figures'}")


def _chosen(options: Namespace, configs: list[str]) -> tuple[Path, list[str], Path | None]:
    """Return the folder for the results, the words that make the model, and its checkpoint if it has one."""
    if options.released:
        if configs or options.run or options.ckpt_path:
            raise UserError("--released is the head that ships with segtricks: leave out --run, --config, --ckpt_path.")
        return new_run_of_all(options.name, "test-released", False), ["--config", str(RELEASED)], None
    if configs and options.run is None and options.ckpt_path is None:  # a method without training
        folder = new_run_of_all(options.name, f"test-{Path(configs[0]).stem}", False)
        return folder, config_words(configs), None
    shared = None if options.run is None else shared_address(options.run)
    if options.name is not None and shared is None:
        raise UserError(
            "--name is the run folder of a method that is not trained, or of a shared run; results of a run of yours "
            "stay in its own."
        )
    run, model_words, checkpoint = run_words(options.run, options.ckpt_path, configs)
    if shared is not None:
        run = new_run_of_all(options.name, f"test-{shared.repository.rpartition('/')[2]}", False)
    return run or checkpoint.parent, model_words, checkpoint


def _make_ready(cli: SegtricksCLI, folder: Path, checkpoint: Path | None, released: bool) -> None:
    """Load the released weights, or find the sign of a checkpoint that lacks it; make the folder if there is none.

    Raises:
        UserError: the method needs a checkpoint, or there is nothing to test on.
    """
    if released:
        load_released_weights(cli.model)
    elif checkpoint is None and cli.model.needs_checkpoint:
        raise UserError(NO_MODEL)
    if not cli.run_data.test:
        raise UserError("No test set. Next: add --data ecssd, or the path of a folder of photographs.")
    datasets = cli.run_data.test_datasets  # a missing one is an error before there is a folder
    if checkpoint is not None:
        paths = [path for dataset in datasets for path in dataset.images]
        find_sign(cli.model, read_checkpoint(checkpoint), partial(cli.sample_images, paths))
    if place()[0] == 0 and not is_begun(folder):
        folder.mkdir(parents=True, exist_ok=True)
        cli.keep(folder)


def _says(words: Sequence[str], option: str) -> bool:
    return any(word.split("=")[0] == option for word in words)


def _quoted(name: str) -> str:
    return "'" + name.replace("'", "''") + "'"
