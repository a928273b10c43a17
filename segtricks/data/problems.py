"""What is wrong with a file of annotations, counted by kind, with the first names."""

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from segtricks.data.pairing import few

_NAMES = 4  # one more than is shown


class Problems:
    """Annotations that are not used, or not read as they stand; ``path`` is their file or folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._counts: dict[str, int] = {}
        self._first: dict[str, list[str]] = {}

    def add(self, what: str, name: object) -> None:
        """Count one more: ``what`` in words, and the name of the annotation."""
        self._counts[what] = self._counts.get(what, 0) + 1
        first = self._first.setdefault(what, [])
        if len(first) < _NAMES:
            first.append(str(name))

    def add_all(self, what: str, names: Iterable[object]) -> None:
        """Count each of several."""
        for name in names:
            self.add(what, name)

    def __len__(self) -> int:
        """Number of kinds."""
        return len(self._counts)

    def lines(self) -> list[str]:
        """Return one line for each kind: what, how many, and the first."""
        return [f"{what}: {count:,} ({few(self._first[what])})" for what, count in self._counts.items()]

    def as_dict(self) -> dict[str, Any]:
        """Return what result files say of it."""
        found = [{"what": what, "count": count, "first": self._first[what][:3]} for what, count in self._counts.items()]
        return {"path": str(self.path), "found": found}

    def warn(self) -> None:
        """Say it once, if there is anything to say."""
        if self._counts:
            warnings.warn(f"{self.path}: {'; '.join(self.lines())}.", stacklevel=3)


def warn_of_left_out(dataset: str, skipped: Iterable[tuple[str, str]]) -> None:
    """Count and name the photographs of a data set, path and reason of each, that cannot be used."""
    problems = Problems(Path(dataset))
    for path, reason in skipped:
        problems.add(f"photographs left out, {reason}", path)
    problems.warn()
