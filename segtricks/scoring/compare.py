"""Compare results: one table for each data set and protocol, with the options in which the runs differ as columns."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import nan
from typing import Any, Literal

import pandas as pd

from segtricks.errors import UserError
from segtricks.scoring.results import Result

Reference = Literal["baseline", "published"]
SEEDS = ("seed", "seed_everything")
_FIRST = ("acc", "iou", "max_fbeta", "corloc")


@dataclass
class Group:
    """Results that may be compared: of one data set, by one protocol.

    Args:
        dataset: its name.
        protocol: name of the protocol, with its choices where another group has the same name.
        results: in the order in which they were given.
        baseline: the row that the others are compared with; None if it was not scored here.
        choices: of the protocol.
    """

    dataset: str
    protocol: str
    results: list[Result] = field(default_factory=list)
    baseline: Result | None = None
    choices: dict[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Data set and protocol in words."""
        return ", ".join(filter(None, (self.dataset, self.protocol and f"protocol {self.protocol}"))) or "results"

    @property
    def differing(self) -> list[str]:
        """Options that not all of the group's results agree on."""
        return differing_options(self.results)

    def label(self, result: Result) -> str:
        """Return what distinguishes a result: its run, options where the run is not enough, its row."""
        names = self.differing
        parts = []
        if len({each.run for each in self.results}) > 1:
            parts.append(result.run)
        variants = {tuple(r.options.get(name) for name in names) for r in self.results if r.run == result.run}
        if len(variants) > 1:
            shown = [(short, result.options.get(name)) for name, short in short_names(names)]
            parts += [f"{short} {value}" for short, value in shown if value]
        return ", ".join(filter(None, [*parts, result.row]))

    def values(self, metric: str) -> pd.Series:
        """Return the metric of each result; nan where it was not scored."""
        return pd.Series([result.metrics.get(metric) for result in self.results], dtype=float)

    def published(self, metric: str) -> pd.Series:
        """Return the published number for each result; nan where there is none."""
        return pd.Series([result.published(metric) for result in self.results], dtype=float)

    def differences(self, metric: str, reference: Reference = "baseline") -> pd.Series:
        """Return the metric minus the baseline row's or the published one; nan for the baseline row itself."""
        if reference == "published":
            return self.values(metric) - self.published(metric)
        if self.baseline is None:
            return self.values(metric) * nan
        differences = self.values(metric) - self.baseline.metrics.get(metric, nan)
        return differences.mask([result is self.baseline for result in self.results])

    def table(self, metrics: Sequence[str], options: Sequence[str]) -> pd.DataFrame:
        """Return a row for each result.

        After run, data set, protocol, options, row, images and seeds, each metric has four columns: value, standard
        deviation over seeds, difference to the baseline row, published number.
        """
        rows = []
        for result in self.results:
            row: dict[str, Any] = {"run": result.run, "dataset": self.dataset, "protocol": self.protocol}
            row |= {name: result.options.get(name, "") for name in options}
            rows.append(row | {"row": result.row, "images": result.images, "seeds": result.seeds})
        table = pd.DataFrame(rows).astype({"images": "Int64"})
        for metric in metrics:
            table[metric] = self.values(metric)
            table[f"{metric}_std"] = pd.Series([result.spread.get(metric) for result in self.results], dtype=float)
            table[f"{metric}_difference"] = self.differences(metric)
            table[f"{metric}_published"] = self.published(metric)
        return table


@dataclass
class Comparison:
    """Groups, and what their tables show.

    Args:
        groups: never of different data sets or protocols within one.
        metrics: columns of metrics.
        baseline: as it was asked for; None if the first row of each group is it.
    """

    groups: list[Group]
    metrics: list[str]
    baseline: str | None = None

    def table(self) -> pd.DataFrame:
        """Return the tables of all groups as one, with the options in which any two results differ."""
        options = differing_options([result for group in self.groups for result in group.results])
        return pd.concat([group.table(self.metrics, options) for group in self.groups], ignore_index=True)

    def notes(self) -> Iterator[str]:
        """Yield what a reader must know before comparing."""
        if len(self.groups) > 1:
            yield f"{len(self.groups)} tables: figures of different data sets or protocols cannot be compared."
        for group in self.groups:
            counts = sorted({result.images for result in group.results if result.images is not None})
            if len(counts) > 1:
                yield f"{group.title}: not all rows are of the same images: {', '.join(f'{n:,}' for n in counts)}."
        for group in self.groups:
            if group.baseline is None:
                yield f"{group.title}: no differences, no row is the baseline {self.baseline}."
        if any(group.published(metric).notna().any() for group in self.groups for metric in self.metrics):
            yield "Published: arXiv 2404.03392, measured by its own protocol (two-tricks)."


def compare(
    results: Sequence[Result],
    metrics: Sequence[str] = (),
    baseline: str | None = None,
    average_seeds: bool = False,
) -> Comparison:
    """Group results and compare them with a baseline.

    Args:
        results: of ``read_results``.
        metrics: those to show; by default accuracy, IoU, maximum F and CorLoc, or what else there is.
        baseline: a run's name, or ``option=value`` pairs with commas, of which the first row that fits is taken in
            each group; by default the first row.
        average_seeds: turn runs that differ in nothing but their seed into one row. Tables of experiments, which have
            a ``seed`` column, are always averaged.

    Raises:
        UserError: an unknown metric or baseline; the message lists those that there are.
    """
    there = list(dict.fromkeys(name for result in results for name in result.metrics))
    for name in metrics:
        if name not in there:
            raise UserError(f"No result has the metric {name!r}. Allowed: {', '.join(there)}.")
    groups: list[Group] = []
    for result in averaged(results, average_seeds):
        if not metrics or result.metrics.keys() & set(metrics):
            _group_of(result, groups).results.append(result)
    shown = dict.fromkeys(metrics or (name for name in _FIRST if name in there))
    for group in groups:
        own = dict.fromkeys(name for result in group.results for name in result.metrics)
        if not shown.keys() & own.keys():
            shown |= dict.fromkeys(list(own)[:4])
        _name_choices(group, groups)
        fits = (result for result in group.results if baseline is None or _fits(result, baseline))
        group.baseline = next(fits, None)
    if all(group.baseline is None for group in groups):
        runs = ", ".join(dict.fromkeys(result.run for result in results))
        raise UserError(
            f"No row is the baseline {baseline!r}. Runs: {runs}.\n"
            "Next: --baseline RUN, or by columns: --baseline crop=false,row=mask"
        )
    return Comparison(groups, list(shown), baseline)


def averaged(results: Sequence[Result], runs_too: bool = False) -> list[Result]:
    """Return results with those that differ only in their seed as one: mean, and standard deviation (n - 1).

    Raises:
        UserError: two rows have the same seed too, so that no column distinguishes them.
    """
    together: dict[Any, list[Result]] = {}
    for number, result in enumerate(results):
        seeded = "seed" in result.options or (runs_too and "seed_everything" in result.options)
        labels = tuple(sorted((key, value) for key, value in result.options.items() if key not in SEEDS))
        place = (result.dataset, result.protocol, str(result.choices), result.row, labels)
        # A table's rows are of one run, whose name tells nothing; of runs, equal options are a repetition.
        own = (place, result.run if "seed" in result.options else None) if seeded else number
        together.setdefault(own, []).append(result)
    return [_mean(group) if len(group) > 1 else group[0] for group in together.values()]


def differing_options(results: Sequence[Result]) -> list[str]:
    """Return the options that not all results agree on, among those that have them."""
    averaged = any(result.seeds > 1 for result in results)
    values = pd.DataFrame([result.options for result in results]).nunique()
    return [str(name) for name in values.index[values > 1] if not (averaged and name in SEEDS)]


def short_names(options: Sequence[str]) -> list[tuple[str, str]]:
    """Return each option with the last part of its name, or the whole name where that is ambiguous."""
    ends = Counter(_short(name) for name in options)
    return [(name, _short(name) if ends[_short(name)] == 1 else name) for name in options]


def _mean(group: Sequence[Result]) -> Result:
    first = group[0]
    seeds = [result.options.get("seed", result.options.get("seed_everything", "")) for result in group]
    if len(set(seeds)) < len(seeds):
        raise UserError(
            f"{first.run}: rows of the same seed {seeds[0]} that no other column distinguishes "
            f"({first.dataset}, {first.row}).\nNext: remove one, or add the column in which they differ."
        )
    metrics = pd.DataFrame([result.metrics for result in group])
    return replace(
        first,
        run=", ".join(dict.fromkeys(result.run for result in group)),
        metrics=metrics.mean().to_dict(),
        spread=metrics.std().dropna().to_dict(),
        options={name: value for name, value in first.options.items() if name not in SEEDS},
        seeds=len(group),
    )


def _group_of(result: Result, groups: list[Group]) -> Group:
    for group in groups:
        same = (group.dataset, group.protocol) == (result.dataset, result.protocol)
        # A choice that a file does not name is one that it did not have yet.
        if same and all(group.choices[key] == result.choices[key] for key in group.choices.keys() & result.choices):
            group.choices |= result.choices
            return group
    groups.append(Group(result.dataset, result.protocol, choices=dict(result.choices)))
    return groups[-1]


def _name_choices(group: Group, groups: Sequence[Group]) -> None:
    others = [other for other in groups if other is not group and other.choices and _same_name(group, other)]
    keys = [key for key in group.choices if any(other.choices.get(key) != group.choices[key] for other in others)]
    if keys:
        group.protocol += f" ({', '.join(f'{key} {group.choices[key]}' for key in keys)})"


def _same_name(one: Group, other: Group) -> bool:
    return (one.dataset, one.protocol.split(" (")[0]) == (other.dataset, other.protocol.split(" (")[0])


def _fits(result: Result, baseline: str) -> bool:
    name = baseline.rstrip("/").rpartition("/")[2]
    if "=" not in baseline:
        return name in result.run.split(", ") or baseline == result.run
    known = {**{_short(key): value for key, value in result.options.items()}, **result.options}
    known |= {"run": result.run, "row": result.row}
    pairs = (pair.partition("=") for pair in baseline.split(","))
    return all(known.get(key.strip(), "").lower() == value.strip().lower() for key, _, value in pairs)


def _short(option: str) -> str:
    return option.rpartition(".")[2]
