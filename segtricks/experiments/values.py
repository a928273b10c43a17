"""The values of a ``grid.yaml``: each of the type it must have, or a mistake that says where it stands."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from segtricks.errors import UserError
from segtricks.metrics.measures import MEASURES

ROWS = ("mask", "mask + guided filter", "mask + bilateral solver")
"""What a run can give; written out, because the methods that give them take seconds to import."""

_WORD = re.compile(r"\{([A-Za-z_][\w-]*)\}")


def check_keys(content: Any, known: Sequence[str], needed: Sequence[str], where: str) -> None:
    """Refuse what is no mapping, or has an unknown key, or lacks one.

    Raises:
        UserError: names the key, and those that are known.
    """
    if not isinstance(content, dict):
        raise UserError(f"{where} must hold 'key: value' lines: {', '.join(known)}.")
    if unknown := [key for key in content if key not in known]:
        raise UserError(f"{where} has an unknown key {unknown[0]!r}. Allowed: {', '.join(known)}.")
    if missing := [key for key in needed if key not in content]:
        raise UserError(f"{where} lacks {missing[0]!r}. Needed: {', '.join(needed)}.")


def text(value: Any, where: str) -> str:
    """Return a text, or a number as one.

    Raises:
        UserError: it is something else, or empty.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float) or value == "":
        raise UserError(f"{where} must be text, got {_shown(value)}.")
    return str(value)


def mapping(value: Any, where: str) -> dict[str, Any]:
    """Return a mapping with text for keys.

    Raises:
        UserError: it is something else.
    """
    if not isinstance(value, dict):
        raise UserError(f"{where} must hold 'name: value' lines, got {_shown(value)}.")
    return {str(key): inner for key, inner in value.items()}


def names(value: Any, where: str) -> list[str]:
    """Return a list of texts; a single one is a list of one.

    Raises:
        UserError: it is something else, or empty.
    """
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not values or not all(isinstance(each, str) and each for each in values):
        raise UserError(f"{where} must be a list of names, such as [one, two], got {_shown(value)}.")
    return values


def whole_numbers(value: Any, where: str) -> list[int]:
    """Return a list of whole numbers from 0; a single one is a list of one.

    Raises:
        UserError: it is something else, or empty.
    """
    values = value if isinstance(value, list) else [value]
    if not values or not all(type(each) is int and each >= 0 for each in values):
        raise UserError(f"{where} must be a list of whole numbers from 0, such as [0, 1, 2], got {_shown(value)}.")
    return values


def axes(value: Any, where: str) -> dict[str, list[Any]]:
    """Return lists of texts, numbers or truth values by name; a single one is a list of one.

    Raises:
        UserError: it is something else, or a list is empty.
    """
    if not isinstance(value, dict):
        raise UserError(f"{where} must hold lines such as 'backbone: [dino_vits8, dino_vits16]', got {_shown(value)}.")
    found = {str(name): given if isinstance(given, list) else [given] for name, given in value.items()}
    for name, values in found.items():
        if not values or not all(isinstance(each, str | int | float) for each in values):
            wrong = next((each for each in values if not isinstance(each, str | int | float)), values)
            raise UserError(f"{where}: {name} must be a list of texts or numbers, such as [a, b], got {_shown(wrong)}.")
    return found


def metrics(value: Any, where: str) -> list[str]:
    """Return a list of known metrics; a single one is a list of one.

    Raises:
        UserError: it is something else, or one is not known; the message has the nearest and all that are.
    """
    found = names(value, where)
    if unknown := [name for name in found if name not in MEASURES]:
        hint = nearest(unknown[0], MEASURES)
        raise UserError(f"{where}: no metric {unknown[0]!r}.{hint}\nAllowed: {', '.join(MEASURES)}.")
    return found


def check_row(row: str, where: str) -> None:
    """Refuse a row that no run can give.

    Raises:
        UserError: names the nearest and all rows.
    """
    if row not in ROWS:
        told = f"no run gives the row {row!r}.{nearest(row, ROWS)}" if row else "it has a run and no row."
        raise UserError(f"{where}: {told}\nAllowed: {', '.join(ROWS)}.")


def check_texts(value: Any, known: Iterable[str], where: str) -> None:
    """Refuse ``{name}`` that is no axis, and values that no option can take, however deep they lie.

    Raises:
        UserError: names it, and the axes that there are.
    """
    known = list(known)
    if isinstance(value, str):
        if wrong := [name for name in _WORD.findall(value) if name not in known]:
            allowed = f"Axes: {', '.join(known)}." if known else "The grid has no axes."
            raise UserError(f"{where}: {{{wrong[0]}}} is no axis.{nearest(wrong[0], known)} {allowed}")
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if key in known and inner is None and len(value) == 1:
                raise UserError(f'{where}: {{{key}}} without quotes is no text in YAML: write "{{{key}}}".')
            check_texts(inner, known, f"{where}: {key}")
    elif isinstance(value, list):
        for inner in value:
            check_texts(inner, known, where)
    elif value is not None and not isinstance(value, int | float):
        raise UserError(f"{where}: YAML takes {value} for a {type(value).__name__}: write it in quotes.")


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean …?"`` with the nearest name; empty if none is near."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {close[0]}?" if close else ""


def _shown(value: Any) -> str:
    shown = "nothing" if value is None else repr(value)
    return shown if len(shown) <= 60 else f"{shown[:59]}…"
