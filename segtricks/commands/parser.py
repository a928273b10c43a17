"""The argument parser: jsonargparse's, with errors of two lines."""

import dataclasses
import difflib
import importlib
import inspect
import re
import sysconfig
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn, TypeVar, get_args

import yaml
from jsonargparse import Namespace
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningDataModule
from lightning.pytorch.cli import LightningArgumentParser

from segtricks.errors import UserError, path_hint
from segtricks.methods import SegmentationModule, Sempart

Kind = TypeVar("Kind")

_LARGEST_SIDE = 8192  # pixels; eight such images are 6 GB of float32
_RANGES: dict[str, tuple[float, float, Any]] = {  # lowest, highest, example
    "seed_everything": (0, 2**32 - 1, 0),
    "panels": (0, 1000, 8),
    "save_every": (0, 10**9, 200),
    "max_bad_share": (0, 1, 0.01),
    "data.size": (1, _LARGEST_SIDE, 320),
    "data.test_size": (1, _LARGEST_SIDE, 320),
    "data.resize": (1, _LARGEST_SIDE, 335),
    "data.num_workers": (0, 1024, 4),
    "model.hidden_dim": (1, 4096, 64),
}
_TRAINING = ("max_epochs", "max_steps", "limit_train_batches")


@dataclass(frozen=True)
class Asked:
    """What is being parsed: the command, its words, and the method that they name."""

    command: str = "fit"
    words: tuple[str, ...] = ()
    method: type[SegmentationModule] = Sempart

    @property
    def more(self) -> str:
        """Where every option is listed."""
        return f"Next: segtricks {self.command} --help lists every option."


ASKED: ContextVar[Asked] = ContextVar("asked", default=Asked())  # noqa: B039 - frozen
"""Of the parser at work: parsers of a single class, which jsonargparse makes, do not know it."""


class Mistake(SystemExit):
    """A parsing error on its way out. jsonargparse catches every ``ValueError`` and buries it in one of its own."""

    def __init__(self, text: str) -> None:
        super().__init__(2)
        self.text = text


class Parser(LightningArgumentParser):
    """Parser of ``fit``, ``validate``, ``test`` and ``predict``, with errors of one or two lines."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Leave with the :class:`Mistake`."""
        raise Mistake(explain(message, known_options(self))) from ex


@contextmanager
def plain_mistakes() -> Iterator[None]:
    """Turn a :class:`Mistake`, and a ``UserError`` that was buried in other errors, into the ``UserError``."""
    try:
        yield
    except Mistake as mistake:
        raise UserError(own_fault(mistake) or mistake.text) from None
    except (ValueError, TypeError, ImportError, MisconfigurationException) as error:
        buried: BaseException | None = error
        while buried is not None and not isinstance(buried, UserError):
            buried = buried.__cause__ or buried.__context__
        raise buried or UserError(own_fault(error) or explain(str(error), [])) from error


def own_fault(error: BaseException) -> str | None:
    """Tell the error at the bottom of ``error`` if a file of the user's raised it: neither ours nor a package's."""
    while (below := error.__cause__ or error.__context__) is not None:
        error = below
    installed = [Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib")]
    known = [*installed, Path(__file__).parents[1]]
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).is_file() and not any(Path(frame.filename).is_relative_to(path) for path in known)
    ]
    if not own:
        return None
    return f"{type(error).__name__}: {error}\nIn {own[-1].filename}, line {own[-1].lineno}: {own[-1].line}"


def check_ranges(config: Namespace) -> None:
    """Refuse values that parse and make no sense.

    Raises:
        UserError: names the option, its range and an example.
    """
    if not isinstance(trainer := config.get("trainer"), Namespace):
        raise UserError(f"trainer is {trainer!r}: it takes options, such as --trainer.max_epochs 5, or is left out.")
    for name, (lowest, highest, example) in _RANGES.items():
        value = config.get(re.sub(r"^(data|model)\.", r"\1.init_args.", name))
        if value is not None and not lowest <= value <= highest:
            raise UserError(f"{name} is {value}: it lies in {lowest} to {highest:,}, for example --{name} {example}.")
    for name in _TRAINING:
        if config.get(f"trainer.{name}") == 0:
            raise UserError(
                f"trainer.{name} is 0: nothing would be trained. Pass 1 or more, for example --trainer.{name} 5;\n"
                "segtricks test, predict and discover need no training."
            )


def chosen_method(words: Sequence[str]) -> type[SegmentationModule] | None:
    """The method that option words and their configs name last; None where they name none that is known.

    jsonargparse passes values from one class on to the next where both have the option, defaults as well: the parser
    has to start from the defaults of the method that is meant.
    """
    return _chosen("model", SegmentationModule, words)


def chosen_data(words: Sequence[str]) -> type[LightningDataModule] | None:
    """The data module that option words and their configs name last; None where they name none that is known."""
    return _chosen("data", LightningDataModule, words)


def _chosen(group: str, kind: type[Kind], words: Sequence[str]) -> type[Kind] | None:
    name = None
    following = [*words[1:], ""]
    pairs = (
        word.split("=", 1) if "=" in word else [word, after] for word, after in zip(words, following, strict=False)
    )
    for option, value in pairs:
        if option == "--config" and Path(value).is_file():
            content = yaml.safe_load(Path(value).read_text(encoding="utf-8"))
            part = content.get(group) if isinstance(content, dict) else None
            found = part.get("class_path") if isinstance(part, dict) else part
            name = found if isinstance(found, str) else name
        elif option in (f"--{group}", f"--{group}.class_path"):
            name = value
    return None if name is None else _class_of(kind, name)


def _class_of(kind: type[Kind], path: str) -> type[Kind] | None:
    """The class of a path, or of its last part alone as jsonargparse allows it; None where there is none."""
    module, _, name = path.rpartition(".")
    if not module:
        return next((each for each in _subclasses(kind) if each.__name__ == name), None)
    with suppress(ImportError):  # explained when the options are parsed
        found = getattr(importlib.import_module(module), name, None)
        if isinstance(found, type) and issubclass(found, kind):
            return found
    return None


def explain(message: str, options: list[str]) -> str:
    """Turn jsonargparse's message into what was wrong, what is allowed and what to type next."""
    unknown = re.search(r"Option '([^']+)' is not accepted|Group '([^']+)' does not accept option '([^']+)'", message)
    if unknown:
        return _unknown(unknown[1] or f"{unknown[2]}.{unknown[3]}", options)
    if unrecognized := re.search(r"unrecognized arguments: (\S+)", message):
        argument = unrecognized[1].split("=")[0]
        if argument.startswith("--"):
            return _unknown(argument[2:], options)
        return f"Unexpected word {argument!r}: options begin with --. {ASKED.get().more}"
    if denied := re.search(r"Importing '([^']+)' is not allowed", message):
        return (
            f"{denied[1]!r} runs commands or code, and no config may name it. Allowed: {', '.join(_class_names())}, …"
        )
    if missing := re.search(r"Expected a dot import path string: (\S+)", message):
        return _unknown_class(missing[1], message)
    if "class_path" in message and (buried := _reason(message)):
        return buried
    lines = [line.strip(" -") for line in message.splitlines()] or [""]
    key = re.match(r'Parser key "([^"]+)":', lines[0])
    value = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("Given value:")), None)
    expected = [match[1] for line in lines if (match := re.match(r"Expected an? (.+?)(?:\. Got value: .*)?$", line))]
    if value is None and (got := re.search(r"Got value: (.*)", message)):
        value = got[1]
    if key and expected:
        allowed = " or ".join(dict.fromkeys(_plain_type(text) for text in expected))
        return f"{_full_name(key[1], options)} must be {allowed}, got {value!r}. {ASKED.get().more}"
    return " ".join(" ".join(lines).split())[:500] or f"An option has a wrong value. {ASKED.get().more}"


def known_options(parser: LightningArgumentParser) -> list[str]:
    """Return the option paths that users type: the parser's own, and those of the method and the data modules."""
    own = [option[2:] for option in parser._option_string_actions if option.startswith("--")]
    own = own if "config" in own else []  # a parser of one class knows its options without their group
    classes: list[tuple[str, type]] = [("model", ASKED.get().method)]
    classes += [("data", kind) for kind in _subclasses(LightningDataModule) if kind.__module__.startswith("segtricks")]
    return own + [name for group, kind in classes for name in _parameters(kind, group)]


def _unknown(name: str, options: list[str]) -> str:
    typed = [word.split("=")[0][2:] for word in ASKED.get().words if word.startswith("--")]
    full = name if name in typed else next((word for word in typed if word.endswith("." + name)), name)
    close = difflib.get_close_matches(full, options, n=1) or _same_leaf(full, options)
    group, _, _ = full.rpartition(".")
    siblings = sorted({option for option in options if option.rpartition(".")[0] == group and option[-1] not in "+-"})
    hint = f" Did you mean {close[0]}?" if close else ""
    allowed = f"Allowed: {', '.join(siblings)}." if group and len(siblings) in range(1, 40) else ASKED.get().more
    return f"Unknown option {full}.{hint}\n{allowed}"


def _reason(message: str) -> str | None:
    """Of the errors that jsonargparse lists for the types of a class option, the one that is about the class."""
    reasons = [line.strip(" -") for line in message.splitlines() if line.strip().startswith("- ")]
    about = [reason for reason in reasons if not re.match(r"Expected an? <class 'NoneType'>", reason)]
    if about and (unknown := re.match(r"Problem with given class_path '([^']+)'", about[0])):
        return _unknown_class(unknown[1], "")
    return about[0] if about else None


def _unknown_class(name: str, message: str) -> str:
    words = [part for word in ASKED.get().words for part in (word.split("=", 1) if word.startswith("--") else [word])]
    given = {value: option for option, value in pairwise(words) if option.startswith("--")}
    option = given.get(name, "")[2:]
    if option.count(".") > 1 and not option.endswith("class_path"):  # --model.optimizer.lr nan, no class at all
        return f"{option} has a wrong value, {name!r}. {ASKED.get().more}"
    if "optim" in message.split("Given value")[0].lower() or "scheduler" in message.lower()[:200]:
        return f"Unknown class {name!r}. Allowed: a class of torch.optim, such as torch.optim.AdamW."
    unknown = f"Unknown class {name!r}. Allowed: {', '.join(_class_names())}, or a dotted import path."
    return unknown + path_hint(name.split(".")[0])


def _same_leaf(name: str, options: list[str]) -> list[str]:
    leaves = {option.rpartition(".")[2]: option for option in options}
    return [leaves[leaf] for leaf in difflib.get_close_matches(name.rpartition(".")[2], leaves, n=1)]


def _full_name(key: str, options: list[str]) -> str:
    matches = [option for option in options if option == key or option.endswith("." + key)]
    return matches[0] if matches else key


def _plain_type(text: str) -> str:
    text = re.sub(r"<class '([^']+)'>", r"\1", text)
    text = re.sub(r"typing\.Literal\[(.*)\]", lambda match: match[1].replace("'", "").replace(", ", " or "), text)
    return {
        "NoneType": "null",
        "bool": "true or false",
        "int": "a whole number",
        "float": "a number",
        "str": "text",
    }.get(text, text)


def _parameters(kind: type, prefix: str) -> Iterator[str]:
    for name, parameter in inspect.signature(kind).parameters.items():
        yield f"{prefix}.{name}"
        for annotation in (parameter.annotation, *get_args(parameter.annotation)):
            if dataclasses.is_dataclass(annotation):
                yield from (f"{prefix}.{name}.{field.name}" for field in dataclasses.fields(annotation))


def _subclasses(kind: type[Any]) -> list[type]:
    found = kind.__subclasses__()
    return found + [deeper for child in found for deeper in _subclasses(child)]


def _class_names() -> list[str]:
    kinds = _subclasses(SegmentationModule) + _subclasses(LightningDataModule)
    return sorted({kind.__name__ for kind in kinds if kind.__module__.startswith("segtricks")})
