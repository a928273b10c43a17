"""``segtricks test``: score a trained model by a named protocol. It never trains."""

from collections.abc import Sequence
from pathlib import Path

from segtricks.commands.lightning_cli import SegtricksCLI, quiet
from segtricks.commands.options import OptionParser, run_words, take_configs
from segtricks.commands.scoring import print_scores, score
from segtricks.errors import UserError
from segtricks.reports.callbacks import BadFiles, TestPanels

USAGE = "--run runs/NAME [--data ecssd …] [--protocol fullres] (or --config CONFIG --ckpt_path FILE)"


def main(words: Sequence[str]) -> None:
    """Run the command with its option words."""
    parser = OptionParser("test", USAGE)
    parser.add_argument("--run")
    parser.add_argument("--ckpt_path")
    parser.add_argument("--data", nargs="+")
    parser.add_argument("--protocol")
    configs, words = take_configs(words)
    options, rest = parser.parse_known_args(words)
    run, model_words, checkpoint = run_words(options.run, options.ckpt_path, configs)
    if options.data:
        rest += [f"--data.test=[{','.join(map(_quoted, options.data))}]"]
    if options.protocol:
        rest += ["--model.protocol", options.protocol]
    quiet()
    folder = run or Path(checkpoint).parent
    cli = SegtricksCLI(
        [*model_words, *rest],
        callbacks=lambda config: [TestPanels(folder, config.panels), BadFiles(config.max_bad_share)],
        default_root_dir=str(folder),
        enable_checkpointing=False,
    )
    if not cli.saliency_data.test:
        raise UserError("No test set. Next: add --data ecssd, or the path of a folder of photographs.")
    print_scores([score(cli, folder, checkpoint=checkpoint)])
    print(f"Figures as JSON in {folder / 'test'}, pictures in {folder / 'figures'}")


def _quoted(name: str) -> str:
    return "'" + name.replace("'", "''") + "'"
