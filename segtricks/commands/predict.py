"""``segtricks predict``: photographs in, masks and overlays out."""

import argparse
from collections.abc import Sequence

from segtricks.commands.options import OptionParser, add_run_options, check_words, count, take_configs, wants_help
from segtricks.commands.task import add_task_options, task_of

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
        from segtricks.commands.helping import show_help

        return show_help(parser, words, "predict")
    configs, others = take_configs(words)
    options, rest = parser.parse_known_args(others)
    check_words("predict", rest, configs, options.run)
    task = task_of(options, options.boxes)
    # Later than the options: Lightning takes seconds.
    from segtricks.commands.prediction import chosen_model, write_masks

    model = chosen_model(options.run, options.ckpt_path, configs, rest)
    if options.launcher == "slurm":
        from segtricks.commands.predict_jobs import submit_shards  # what it imports needs a Unix

        return submit_shards(task, words, options, model)
    write_masks(task, model, "predict")


def add_launcher_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--launcher``, ``--jobs`` and ``--sbatch``."""
    parser.add_argument("--launcher", choices=("local", "slurm"), default="local", help="slurm: as jobs of a cluster")
    parser.add_argument("--jobs", type=count, default=4, metavar="N", help="how many with --launcher slurm (default 4)")
    parser.add_argument("--sbatch", default="", metavar="OPTIONS", help='for every job: --sbatch="--gres=gpu:1"')
