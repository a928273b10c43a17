"""``segtricks predict``: photographs in, masks and overlays out."""

from collections.abc import Sequence
from dataclasses import replace

from segtricks.commands.helping import show_help, wants_help
from segtricks.commands.options import OptionParser, add_run_options, config_words, run_words, take_configs
from segtricks.commands.prediction import Model, add_task_options, task_of, write_masks
from segtricks.methods.released import CONFIG as RELEASED

USAGE = (
    "--images PHOTOS --output MASKS [--run runs/NAME] [--boxes] [--page] [--shard 1/4] [--overwrite]\n"
    "       [--cache_features] [--cache_dir DIR] [--any.option value]\n\n"
    "Without --run (or --config CONFIG --ckpt_path FILE) the head that ships with segtricks is used. A method that is\n"
    "not trained needs its config alone: --config tokencut."
)


def main(words: Sequence[str]) -> None:
    """Run the command with its option words."""
    parser = OptionParser("predict", USAGE)
    add_run_options(parser)
    add_task_options(parser)
    parser.add_argument("--boxes", action="store_true", help="also write boxes.json in COCO's form")
    if wants_help(words):
        return show_help(parser, words, "predict")
    configs, words = take_configs(words)
    options, rest = parser.parse_known_args(words)
    task = task_of(options, options.boxes)
    model = _model(options.run, options.ckpt_path, configs)
    write_masks(task, replace(model, words=[*model.words, *rest]), "predict")


def _model(run: str | None, ckpt_path: str | None, configs: list[str]) -> Model:
    if run is None and ckpt_path is None:
        return Model(config_words(configs)) if configs else Model(["--config", str(RELEASED)], released=True)
    _, words, checkpoint = run_words(run, ckpt_path, configs)
    return Model(words, checkpoint)
