"""``metrics.csv``: one row a step, kept when a run is resumed."""

import csv
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger, rank_zero_experiment
from lightning.pytorch.utilities import rank_zero_only

from segtricks.runs import METRICS, logged_rows, replacing


class MetricsFile(Logger):
    """Write every logged scalar to ``RUN/metrics.csv``, with the columns ``epoch``, ``step`` and one a name.

    Lightning's own CSV logger deletes the file of a run that is resumed; this one keeps the rows up to the resumed
    step (:meth:`truncate`) and goes on.

    Args:
        run: the run folder, which is also Lightning's log folder.
    """

    def __init__(self, run: Path) -> None:
        super().__init__()
        self.path = run / METRICS
        self._columns: list[str] = []
        self._pending: list[dict[str, float]] = []

    @property
    def name(self) -> str:
        """The run's name."""
        return self.path.parent.name

    @property
    def version(self) -> str:
        """Runs carry their number in their name."""
        return ""

    @property
    def log_dir(self) -> str:
        """The run folder."""
        return str(self.path.parent)

    @property
    @rank_zero_experiment
    def experiment(self) -> None:
        """Nothing beyond this object."""
        return None

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Do nothing: ``config.yaml`` holds them."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add scalars at ``step``; those of one step share a row."""
        row = {"step": -1 if step is None else step, **{key: float(value) for key, value in metrics.items()}}
        self._pending.append(row)
        if len(self._pending) >= 50:
            self.save()

    @rank_zero_only
    def save(self) -> None:
        """Write what is pending."""
        if self._pending:
            self._write(self.rows() + self._pending)
            self._pending = []

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write what is pending."""
        self.save()

    def rows(self) -> list[dict[str, float]]:
        """Return the rows of the file, without its empty cells."""
        return logged_rows(self.path.parent)

    @rank_zero_only
    def truncate(self, step: int) -> None:
        """Drop the rows of ``step`` and later: a run resumed there writes them again."""
        self._write([row for row in self.rows() if row["step"] < step])

    def _write(self, logged: list[dict[str, float]]) -> None:
        steps: dict[float, dict[str, float]] = {}
        for row in logged:
            steps.setdefault(row["step"], {}).update(row)
        rows = list(steps.values())
        names = sorted({key for row in rows for key in row} - {"epoch", "step"})
        with replacing(self.path) as path, path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=["epoch", "step", *names])
            writer.writeheader()
            writer.writerows({**row, "step": int(row["step"]), "epoch": int(row.get("epoch", 0))} for row in rows)
