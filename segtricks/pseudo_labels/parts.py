"""Parts of a store that are written apart, by shards or processes: who does what, and one index of it all."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from segtricks.data.label_store import is_store
from segtricks.errors import UserError
from segtricks.runs import flat, write_json

Item = TypeVar("Item")


@dataclass(frozen=True)
class Share:
    """Part ``number`` (from 1) of ``count``."""

    number: int
    count: int

    def of(self, items: Sequence[Item]) -> list[Item]:
        """Every ``count``-th item."""
        return list(items[self.number - 1 :: self.count])

    def split(self, rank: int, world: int) -> "Share":
        """The part of this part that one of several processes does."""
        return Share((self.number - 1) * world + rank + 1, self.count * world)

    @property
    def suffix(self) -> str:
        """What the names of its result files end with."""
        return "" if self.count == 1 else f"-{self.number}-of-{self.count}"


def share(shard: str) -> Share:
    """Read ``--shard i/n``.

    Raises:
        UserError: it is not a part.
    """
    first, slash, of = shard.partition("/")
    if not (slash and first.isdecimal() and of.isdecimal() and 1 <= int(first) <= int(of)):
        raise UserError(f"--shard {shard!r} is not a part: pass i/n with i from 1 to n, for example --shard 1/4.")
    return Share(int(first), int(of))


_WAYS_OUT = "Pass the same options, another --output, or --overwrite to make them again."


def check_settings(output: Path, settings: Mapping[str, Any], ways_out: str = _WAYS_OUT) -> None:
    """Keep masks of different origin out of one folder.

    Args:
        output: the folder.
        settings: of the masks that are to be written.
        ways_out: what to type next.

    Raises:
        UserError: ``settings.json`` differs, or there are masks without one.
    """
    changed = changed_settings(output, settings)
    known = (output / "settings.json").is_file()
    if changed and (known or (output / "soft").exists() or is_store(output)):
        made = f"with {', '.join(changed)}" if known else "by another command"
        raise UserError(f"{output} holds masks made {made}.\n{ways_out}")


def known_settings(output: Path) -> dict[str, Any]:
    """Return the settings of the masks in a folder; empty where none are known."""
    path = output / "settings.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def changed_settings(output: Path, settings: Mapping[str, Any]) -> list[str]:
    """Return which settings the masks in a folder have, where they are others than these, as ``name value``."""
    before, now = flat(known_settings(output)), flat(settings)
    return [f"{key} {before.get(key)!r}" for key in dict.fromkeys([*now, *before]) if before.get(key) != now.get(key)]


def digest(*parts: object) -> str:
    """Return what two processes at the same work have in common: a hash of the photographs and the settings."""
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:16]


def publish(
    path: Path,
    part: Share,
    work: str,
    content: dict[str, Any],
    join: Callable[[list[dict[str, Any]]], dict[str, Any]],
) -> dict[str, Any] | None:
    """Write a part's content next to ``path``, and ``path`` itself once all parts are there.

    Of parts that end at once, the last to write its own file sees all others; two that both do write the same.

    Args:
        path: the file of the whole, such as ``index.json``.
        part: which part this is; the only one writes ``path``.
        work: what all parts have in common; files of other work that lie there are not joined.
        content: of the part.
        join: makes the whole of all parts' contents, in their order.

    Returns:
        The content of the whole, or None while parts are missing.
    """
    if part.count == 1:
        write_json(path, content)
        return content
    write_json(_beside(path, part), content | {"work": work})
    contents = []
    for number in range(1, part.count + 1):
        try:
            found = json.loads(_beside(path, Share(number, part.count)).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        if found.pop("work", None) != work:
            return None
        contents.append(found)
    whole = join(contents)
    write_json(path, whole)
    return whole


def join_indices(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Join ``index.json`` of all parts: counts are summed, lists united and sorted, texts that differ named."""
    whole: dict[str, Any] = {}
    for key, first in parts[0].items():
        values = [part.get(key, type(first)()) for part in parts]
        if key == "settings":
            whole[key] = first  # the same in all parts
        elif isinstance(first, dict):
            whole[key] = join_indices(values)
        elif isinstance(first, list):
            whole[key] = sorted((item for value in values for item in value), key=str)
        elif isinstance(first, str):
            whole[key] = " and ".join(dict.fromkeys(value for value in values if value))
        else:
            whole[key] = sum(values)
    return whole


def join_boxes(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Join COCO files of all parts, in the order of the image ids, with new annotation ids."""
    images = sorted((image for part in parts for image in part["images"]), key=lambda image: int(image["id"]))
    boxes = sorted((box for part in parts for box in part["annotations"]), key=lambda box: int(box["image_id"]))
    numbered = [box | {"id": number} for number, box in enumerate(boxes, start=1)]
    categories = {kind["id"]: kind for part in parts for kind in part["categories"]}
    kinds = [categories[number] for number in sorted(categories)]
    return {"images": images, "annotations": numbered, "categories": kinds}


def _beside(path: Path, part: Share) -> Path:
    return path.with_name(f"{path.stem}{part.suffix}{path.suffix}")
