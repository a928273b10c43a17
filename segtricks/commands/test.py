"""``segtricks test``: score a trained model by a named protocol. It never trains."""

from collections.abc import Sequence

from segtricks.commands.options import OptionParser, add_run_options, check_words, take_configs, wants_help
from segtricks.parallel import one_voice

USAGE = (
    "--run runs/NAME [--data ecssd …] [--protocol fullres]\n"
    "       (or --config CONFIG --ckpt_path FILE, or --config tokencut [--name NAME]: a method that is not trained;\n"
    "       or --released: the head that ships with segtricks)"
)


def main(words: Sequence[str]) -> None:
    """Run the command with its option words."""
    parser = _parser()
    if wants_help(words):
        from segtricks.commands.helping import show_help

        return show_help(parser, words, "test")
    configs, words = take_configs(words)
    options, rest = parser.parse_known_args(words)
    check_words("test", rest, configs, options.run)
    from segtricks.commands.score_run import score_run  # later than the options: Lightning takes seconds

    with one_voice():
        score_run(options, configs, rest)


def _parser() -> OptionParser:
    parser = OptionParser("test", USAGE)
    add_run_options(parser)
    parser.add_argument("--released", action="store_true", help="test the head that ships with segtricks")
    parser.add_argument("--data", nargs="+", action="extend", metavar="SET", help="test sets: names, folders or lists")
    parser.add_argument("--protocol", metavar="NAME", help="how to score: fullres, two-tricks, sod, …")
    parser.add_argument("--name", help="run folder of a shared run, or of a method that is not trained")
    return parser
