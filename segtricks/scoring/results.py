"""Read what was scored: run folders, result files of ``test`` and ``evaluate``, and tables of experiments."""

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from segtricks.errors import UserError
from segtricks.metrics.measures import MEASURES
from segtricks.runs import existing_run, flat
from segtricks.scoring.published import is_whole, labels_of_run, labels_of_table, published

_COUNTS = ("images", "seed", "seeds", "n", "epoch", "step")
_NOT_SHOWN = re.compile(
    r"(test|provenance|wandb|panels|save_every|max_bad_share|data\.(test|root|num_workers|predict_images|eval_batch_size)"
    r"|trainer\.(enable_.*|log_every_n_steps|default_root_dir|logger|callbacks|devices|accelerator))(\..*)?"
)
_OF_TRAINING = re.compile(
    r"(data\.(train|train_limit|batch_size|held_out|flip|jitter|jitter_p|grayscale_p|scale_range|scaled_to|blur_p"
    r"|blur_sigma|colors_on|cache|cache_dir)|trainer\.(?!precision|limit_test_batches).*|on_collapse|seed_everything)"
)


@dataclass
class Result:
    """One row of figures on one test set.

    Args:
        run: what it is called: the run, the folder of predictions or the experiment.
        dataset: as it was named when it was scored; the table's own name in a table without such a column.
        protocol: name of the protocol, or empty.
        choices: every choice of the protocol.
        row: which masks, for example ``mask + guided filter``.
        metrics: figures by name.
        images: how many were scored, where that is known.
        options: what else distinguishes it: a run's config with dots, or the columns of a table.
        paper: the arguments of ``published`` that name its row in the paper, if it has one.
        spread: standard deviations by metric, where the figures are means of several seeds.
        seeds: how many seeds.
    """

    run: str
    dataset: str
    protocol: str
    row: str
    metrics: dict[str, float]
    choices: dict[str, Any] = field(default_factory=dict)
    images: int | None = None
    options: dict[str, str] = field(default_factory=dict)
    paper: dict[str, Any] | None = None
    spread: dict[str, float] = field(default_factory=dict)
    seeds: int = 1

    def published(self, metric: str) -> float | None:
        """Return the paper's number for this row; None on anything but a whole published set."""
        if self.paper is None or not is_whole(self.dataset, self.images):
            return None
        return published(metric, self.dataset, **self.paper)


def read_results(path: str | Path) -> list[Result]:
    """Return everything that was scored in a run folder, a result file (JSON), or a table (CSV, or its folder).

    Scores before training are left out.

    Raises:
        UserError: it is none of these, cannot be read, or holds no scores; the message says what to type next.
    """
    place = Path(path)
    table = place / "results.csv" if place.is_dir() else place
    if table.suffix == ".csv" and table.is_file():
        found = list(_table(table))
    elif place.is_file():
        found = list(read_file(place, place.stem, {}))
    else:
        run = existing_run(path)
        options = flat_config(read_config(run), was_trained(run))
        files = [file for file in result_files(run) if not is_before(file)]
        found = [result for file in files for result in read_file(file, run.resolve().name, options)]
        if not found:
            raise UserError(f"{run} has no scores yet.\nNext: segtricks test --run {run} --data ecssd")
    if not found:
        raise UserError(f"{path} holds no scores: pass runs, result files of test or evaluate, or tables (CSV).")
    return found


def read_file(path: Path, run: str, options: dict[str, str]) -> Iterator[Result]:
    """Yield the rows of a result file of ``test`` or ``evaluate``.

    Args:
        path: the JSON file.
        run: what the results are called, unless the file names the folder of predictions.
        options: the flat config of the run.

    Raises:
        UserError: it is not a result file.
    """
    content = read_json(path)
    for each in content.get("results", [content]):
        protocol = each.get("protocol")
        if not isinstance(protocol, dict) or not isinstance(each.get("metrics"), dict):
            raise UserError(f"{path} is not a result file of segtricks test or segtricks evaluate.")
        predictions = each.get("predictions")
        targets = each.get("targets") or (each.get("corloc") or {}).get("boxes")
        model: dict[str, Any] = {
            key.removeprefix("model."): {"true": True, "false": False}.get(value, value)
            for key, value in options.items()
            if key.startswith("model.")
        }
        for row, metrics in (each.get("rows") or {"": each["metrics"]}).items():
            # Which component gives the box makes no difference to a set without boxes.
            unused = {"name", "refine_at"} if "corloc" in metrics else {"name", "refine_at", "select"}
            yield Result(
                run=run if predictions is None else "/".join(Path(predictions).parts[-2:]),
                dataset=each.get("dataset") or "/".join(Path(targets or "").parts[-2:]),
                protocol=str(protocol.get("name", "")),
                choices={key: value for key, value in protocol.items() if key not in unused},
                row=row,
                metrics={key: float(value) for key, value in metrics.items() if value is not None},
                images=each.get("images"),
                options=options,
                paper=labels_of_run(model, row, str(protocol.get("name", ""))),
            )


def result_files(run: Path) -> list[Path]:
    """Return the result files of a run, those of before the training too; hidden files are temporary ones."""
    return sorted((run / "test").glob("[!.]*.json"))


def is_before(file: Path) -> bool:
    """Tell whether a result file was scored before the training: ``test/DATASET[-PROTOCOL]-before.json``."""
    if not file.stem.endswith("-before"):
        return False
    return file.stem.count("before") > str(read_json(file).get("dataset", "")).count("before")


def read_json(path: Path) -> dict[str, Any]:
    """Return the content of a JSON file.

    Raises:
        UserError: it is none, or no object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not a result file: {error}.") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a result file of segtricks test or segtricks evaluate.")
    return content


def read_config(run: Path) -> dict[str, Any]:
    """Return the content of a run's ``config.yaml``.

    Raises:
        UserError: it is damaged.
    """
    try:
        content = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(
            f"{run / 'config.yaml'} is not valid YAML: {getattr(error, 'problem', None) or error}."
        ) from error
    return content if isinstance(content, dict) else {}


def was_trained(run: Path) -> bool:
    """Return whether a training has left its log in a run folder."""
    return (run / "metrics.csv").is_file()


def flat_config(config: Mapping[str, Any], trained: bool = False) -> dict[str, str]:
    """Return a config as one level of text: ``model.backbone``, ``model.optimizer.lr``, ``data.size``…

    Names are those of the command line; what does not change a result (folders, progress bars, and for a method
    without training its options) is left out. A method that has no option for its optimiser is taken for one without
    training, unless it was ``trained``.
    """
    found: dict[str, str] = {}
    for name, value in flat(config).items():
        if not _NOT_SHOWN.fullmatch(name):
            text = str(value).lower() if value is None or isinstance(value, bool) else str(value)
            text = Path(text).name if name == "data.masks" else text  # which masks, and not where they are
            found[name] = text.rpartition(".")[2] if name.endswith("class_path") else text
    trained = trained or any(name.startswith("model.optimizer") for name in found)
    if "model.class_path" in found and not trained:
        return {name: value for name, value in found.items() if not _OF_TRAINING.fullmatch(name)}
    return found


def main_row(content: Mapping[str, Any]) -> str:
    """Return which row of a result file is the masks that the model predicts."""
    rows = content.get("rows") or {"": content.get("metrics")}
    return next((name for name, metrics in rows.items() if metrics == content.get("metrics")), next(iter(rows)))


def _table(path: Path) -> Iterator[Result]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [{key or "": value or "" for key, value in row.items() if key} for row in csv.DictReader(file)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is not a table: {error}.") from error
    columns = list(rows[0]) if rows else []
    metrics = _metric_columns(columns, rows)
    spreads = [f"{name}_std" for name in metrics]
    labels = [name for name in columns if name not in (*metrics, *spreads) and any(row[name] for row in rows)]
    if not metrics:
        raise UserError(
            f"{path} holds no column of figures between 0 and 1, such as iou. Columns: {', '.join(columns)}."
        )
    own = ("dataset", "protocol", "row", "images", "run")
    name = path.resolve().parent.name if path.name == "results.csv" else path.stem
    for row in rows:
        images = row.get("images", "")
        yield Result(
            run=name,
            dataset=row.get("dataset") or name,  # what was measured on nothing named is compared with itself alone
            protocol=row.get("protocol", ""),
            row=row.get("row", ""),
            metrics={name: float(row[name]) for name in metrics if row[name]},
            images=int(images) if images.isdigit() else None,
            options={name: row[name] for name in labels if name not in own},
            paper=labels_of_table(row),
            spread={name: float(row[f"{name}_std"]) for name in metrics if row.get(f"{name}_std")},
        )


def _metric_columns(columns: Sequence[str], rows: Sequence[Mapping[str, str]]) -> list[str]:
    """Columns of figures: the known measures, and numbers with decimals to the right of all columns of text."""
    numeric = [name for name in columns if any(row[name] for row in rows) and all(_number(row[name]) for row in rows)]
    last = max((columns.index(name) for name in columns if name not in numeric and _used(name, rows)), default=-1)
    return [
        name
        for name in numeric
        if name not in _COUNTS
        and not name.endswith(("_std", "_images"))
        and (name in MEASURES or (columns.index(name) > last and not all(row[name].isdigit() for row in rows)))
    ]


def _used(name: str, rows: Sequence[Mapping[str, str]]) -> bool:
    return any(row[name] for row in rows)


def _number(text: str) -> bool:
    try:
        return not text or float(text) == float(text)
    except ValueError:
        return False
