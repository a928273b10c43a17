"""``segtricks predict``: photographs in, masks and overlays out."""

from collections.abc import Sequence
from pathlib import Path

from segtricks.commands.helping import show_help, wants_help
from segtricks.commands.lightning_cli import SegtricksCLI, quiet
from segtricks.commands.options import OptionParser, run_words, take_configs
from segtricks.data import find_images
from segtricks.errors import UserError
from segtricks.reports.mask_writer import MaskWriter

USAGE = "--run runs/NAME --images PHOTOS --output MASKS [--any.option value]"


def main(words: Sequence[str]) -> None:
    """Run the command with its option words."""
    if wants_help(words):
        return show_help("predict", USAGE)
    parser = OptionParser("predict", USAGE)
    parser.add_argument("--run")
    parser.add_argument("--ckpt_path")
    parser.add_argument("--images", required=True)
    parser.add_argument("--output", required=True)
    configs, words = take_configs(words)
    options, rest = parser.parse_known_args(words)
    photos, output = Path(options.images), Path(options.output)
    if output.resolve() == photos.resolve():
        raise UserError(f"--output {output} is the folder of the photographs: pass another one.")
    if photos.resolve() in output.resolve().parents:
        raise UserError(f"--output {output} lies among the photographs, and would be one of them: pass another one.")
    paths = find_images(photos)
    _, model_words, checkpoint = run_words(options.run, options.ckpt_path, configs)
    output.mkdir(parents=True, exist_ok=True)
    quiet()
    writer = MaskWriter(photos.resolve(), output, [path.resolve() for path in paths])
    cli = SegtricksCLI(
        [*model_words, *rest, "--data.predict_images", str(photos.resolve())],
        callbacks=lambda config: [writer],
        enable_checkpointing=False,
    )
    cli.trainer.predict(
        cli.model, datamodule=cli.saliency_data, ckpt_path=str(checkpoint), return_predictions=False, weights_only=True
    )
    for path, reason in writer.skipped:
        print(f"skipped {path}: {reason}")
    if not writer.written:
        raise UserError(f"None of the {len(paths):,} files in {photos} could be read; see {output / 'index.json'}.")
    done = f"{len(writer.written):,} of {len(paths):,} photographs"
    print(f"{done} written to {output}: soft/, binary/, overlay/, index.json")
