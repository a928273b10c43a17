"""``segtricks validate``: the training objective on the held-out training images, without labels."""

from collections.abc import Sequence

from segtricks.commands.options import (
    OptionParser,
    add_run_options,
    check_words,
    run_words,
    take_configs,
    wants_help,
)
from segtricks.reports.tables import text_table

USAGE = "--run runs/NAME [--any.option value] (or --config CONFIG --ckpt_path FILE)"


def main(words: Sequence[str]) -> None:
    """Run the command with its option words."""
    parser = OptionParser("validate", USAGE)
    add_run_options(parser)
    if wants_help(words):
        from segtricks.commands.helping import show_help

        return show_help(parser, words, "validate")
    configs, words = take_configs(words)
    options, rest = parser.parse_known_args(words)
    check_words("validate", rest, configs, options.run)
    _, model_words, checkpoint = run_words(options.run, options.ckpt_path, configs)
    from segtricks.commands.lightning_cli import SegtricksCLI, quiet  # later than the options: it takes seconds

    quiet()
    cli = SegtricksCLI([*model_words, *rest], command="validate", enable_checkpointing=False)
    cli.ask_for_targets()
    (terms,) = cli.trainer.validate(
        cli.model, datamodule=cli.datamodule, ckpt_path=str(checkpoint), verbose=False, weights_only=True
    )
    rows = [(name.removeprefix("val/"), f"{value:.6f}") for name, value in terms.items()]
    print(text_table(("term", "held-out mean"), rows))
