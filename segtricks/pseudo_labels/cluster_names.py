"""``names.yaml``: what a person calls each cluster."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from segtricks.errors import UserError
from segtricks.runs import replacing

FILE = "names.yaml"

_HEAD = """\
# One line for each cluster, to be filled in while looking at page.html. Clusters of the same name become one class; one
# without a name ("3:") becomes background. Then type the same command again: features are not computed a second time.
"""


def default_name(cluster: int) -> str:
    """Return the name of a cluster that nobody has named."""
    return f"cluster {cluster}"


def write_names(path: Path, sizes: Sequence[int]) -> None:
    """Write a file for clusters of so many masks each, counted from 1, to be filled in."""
    lines = [f"{cluster}: {default_name(cluster)}  # {size:,} masks\n" for cluster, size in enumerate(sizes, start=1)]
    with replacing(path) as temporary:
        temporary.write_text(_HEAD + "".join(lines), encoding="utf-8")


def read_names(path: Path, clusters: int) -> dict[int, str]:
    """Return the name of each cluster, empty where it has none.

    Raises:
        UserError: it is not valid YAML, lacks a cluster or has others; the message says which.
    """
    try:
        # Texts as they are: a cluster may be called "no" or "on".
        content = yaml.load(path.read_text(encoding="utf-8"), yaml.BaseLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid YAML: {getattr(error, 'problem', None) or error}.") from error
    expected = [str(cluster) for cluster in range(1, clusters + 1)]
    found = content if isinstance(content, dict) else {}
    if set(found) != set(expected) or not all(isinstance(name, str) for name in found.values()):
        raise UserError(
            f"{path} must have one line for each cluster, 1 to {clusters}, such as `1: dog`; it has "
            f"{', '.join(map(str, found)) or 'none'}.\n"
            "Next: correct it, or remove it and type the same command again for a new one."
        )
    names = {int(cluster): found[cluster].strip() for cluster in expected}
    if not any(names.values()):
        raise UserError(f"{path} names no cluster: nothing would be left.\nNext: give one of them a name.")
    return names


def is_edited(names: Mapping[int, str]) -> bool:
    """Return whether a person has changed any name."""
    return any(name != default_name(cluster) for cluster, name in names.items())


def classes_of(names: Mapping[int, str]) -> tuple[dict[int, int], dict[int, str]]:
    """Return the class of each cluster that has a name, and the name of each class, counted from 1."""
    numbers: dict[str, int] = {}
    for name in names.values():
        if name:
            numbers.setdefault(name, len(numbers) + 1)
    classes = {cluster: numbers[name] for cluster, name in names.items() if name}
    return classes, {number: name for name, number in numbers.items()}
