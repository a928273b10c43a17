"""The options of a run, and mistakes in them that are told before Lightning is imported, which takes seconds."""

import ast
import difflib
import importlib.util
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from segtricks.errors import UserError

RUN_OPTIONS: dict[str, tuple[Any, Any, str]] = {
    "test": (
        Literal["none", "after", "both"],
        "after",
        "Score the test sets after the fit, before it too, or not.",
    ),
    "wandb": (Literal["off", "offline", "online"], "off", "Log to Weights & Biases too."),
    "panels": (int, 8, "Images shown in the pictures of a test set."),
    "save_every": (int, 200, "Training steps between two writes of checkpoints/last.ckpt."),
    "max_bad_share": (float, 0.01, "Share of unreadable files at which a run stops."),
    "provenance": (
        dict[str, Any] | None,
        None,
        "Weights, threshold and sign of a run: written, never read.",
    ),
    "on_collapse": (Literal["warn", "stop"], "warn", "For collapsed masks, a graph without a cut, or a stuck loss."),
}
"""Type, default and help of a run's own options."""


_OTHERS = (
    "config",
    "print_config",
    "help",
    "seed_everything",
    "trainer",
    "model",
    "data",
    "cache_features",
    "cache_dir",
)
_OF_A_CLASS = ("class_path", "init_args", "dict_kwargs", "help")
_FOREIGN = re.compile(r"class_path:\s*['\"]?(?!segtricks\.|torch\.|lightning\.)\w+\.")
_PACKAGE = Path(__file__).parents[1]


def check_run_words(command: str, words: Sequence[str], configs: Iterable[Path] = ()) -> None:
    """Refuse what is nearly an option of a run; what is not nearly one is explained by the parser of all options.

    Options are looked up in the source of the methods, the data modules and Lightning's trainer. Where a word or a
    config takes a class from elsewhere, everything is left to the parser, which imports it.

    Args:
        command: for the message.
        words: of the command line, the command's own options taken out.
        configs: YAML files.

    Raises:
        UserError: a misspelt option.
    """
    names = [word[2:].partition("=")[0].rstrip("+") for word in words if word.startswith("--")]
    if not names or _takes_foreign_classes(words, configs):
        return
    known = sorted(run_option_names())
    for name in names:
        option = ".".join(name.split(".")[:2])
        plain = option.replace("-", "_")
        near = [] if plain in known else _near(plain, known)
        if near or (plain not in known and "." not in plain):
            hint = f" Did you mean {_spelt(near[0])}?" if near else ""
            raise UserError(
                f"Unknown option {_spelt(option)}.{hint}\nNext: segtricks {command} --help lists every option."
            )


def _spelt(option: str) -> str:
    return option if "." in option else f"--{option}"


def _near(option: str, known: Sequence[str]) -> list[str]:
    """Return the option that is meant, if one is near: of the same group, or of any if none is given."""
    group, dot, leaf = option.rpartition(".")
    leaves = {each.rpartition(".")[2]: each for each in known if each.startswith(f"{group}{dot}")}
    return [leaves[near] for near in difflib.get_close_matches(leaf, leaves, n=1)]


def run_option_names() -> Iterator[str]:
    """Yield the names of all options of runs, of any method and data module, without importing them."""
    yield from (*RUN_OPTIONS, *_OTHERS)
    lightning = importlib.util.find_spec("lightning")
    assert lightning is not None
    assert lightning.origin is not None
    trainer = Path(lightning.origin).parent / "pytorch" / "trainer" / "trainer.py"
    places = {"model": (_PACKAGE / "methods").glob("*.py"), "data": (_PACKAGE / "data").glob("*.py")}
    for group, files in {**places, "trainer": [trainer]}.items():
        parameters = {name for file in files for name in _parameters(file)}
        yield from (f"{group}.{name}" for name in sorted(parameters | {*_OF_A_CLASS}))


def _parameters(file: Path) -> Iterator[str]:
    """Names of the arguments of all classes in a file."""
    for kind in ast.parse(file.read_text(encoding="utf-8")).body:
        for node in kind.body if isinstance(kind, ast.ClassDef) else ():
            if isinstance(node, ast.FunctionDef) and node.name == "__init__":
                yield from (each.arg for each in (*node.args.args[1:], *node.args.kwonlyargs))


def _takes_foreign_classes(words: Sequence[str], configs: Iterable[Path]) -> bool:
    after = [*words[1:], ""]
    for word, value in zip(words, after, strict=True):
        option, equals, own = word.partition("=")
        chosen = own if equals else value
        if option in ("--model", "--data") and "." in chosen and not chosen.startswith("segtricks."):
            return True
        if option.endswith(".class_path") and not chosen.startswith(("segtricks.", "torch.", "lightning.")):
            return True
    return any(_FOREIGN.search(path.read_text(encoding="utf-8", errors="replace")) for path in configs)
