"""``segtricks predict``: photographs in, masks and overlays out."""

import argparse
from collections.abc import Sequence
from dataclasses import replace

from segtricks.commands.helping import show_help, wants_help
from segtricks.commands.options import OptionParser, add_run_options, config_words, count, run_words, take_configs
from segtricks.commands.prediction import Model, add_task_options, task_of, write_masks
from segtricks.methods.released import CONFIG as RELEASED

USAGE = (
    "--images PHOTOS --output MASKS [--run runs/NAME] [--boxes] [--page] [--shard 1/4] [--overwrite]\n"
    "       [--launcher slurm --jobs 4] [--cache_features] [--cache_dir DIR] [--any.option value]\n\n"
    "Without --run (or --config CONFIG --ckpt_path FILE) the head that ships with segtricks is used. A method that is\n"
    "not trained needs its config alone: --config tokencut."
)


def main(words: Sequence[str]) -> None:
    """Run the command with its option words."""
    parser = OptionParser("predict", USAGE)
    add_run_options(parser)
    add_task_options(parser)
    add_launcher_options(parser)
    parser.add_argument("--boxes", action="store_true", help="also write boxes.json in COCO's form")
    if wants_help(words):
        return show_help(parser, words, "predict")
    configs, others = take_configs(words)
    options, rest = parser.parse_known_args(others)
    task = task_of(options, options.boxes)
    model = _model(options.run, options.ckpt_path, configs)
    if options.launcher == "slurm":
        from segtricks.commands.predict_jobs import submit_shards  # what it imports needs a Unix

        return submit_shards(task, words, options)
    write_masks(task, replace(model, words=[*model.words, *rest]), "predict")


def add_launcher_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--launcher``, ``--jobs`` and ``--sbatch``."""
    parser.add_argument("--launcher", choices=("local", "slurm"), default="local", help="slurm: as jobs of a cluster")
    parser.add_argument("--jobs", type=count, default=4, metavar="N", help="how many with --launcher slurm (default 4)")
    parser.add_argument("--sbatch", default="", metavar="OPTIONS", help='for every job: --sbatch="--gres=gpu:1"')


def _model(run: str | None, ckpt_path: str | None, configs: list[str]) -> Model:
    if run is None and ckpt_path is None:
        return Model(config_words(configs)) if configs else Model(["--config", str(RELEASED)], released=True)
    _, words, checkpoint = run_words(run, ckpt_path, configs)
    return Model(words, checkpoint)
