"""One HTML page on a run: what was trained, how, what it scored, and what that looks like."""

import base64
import csv
import io
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml
from jinja2 import Environment, PackageLoader, Template
from markupsafe import Markup
from matplotlib.figure import Figure
from PIL import Image

from segtricks.errors import UserError
from segtricks.metrics.measures import HEADLINES, MEASURES, title
from segtricks.reports.figures import bins_figure, curve_figure, loss_terms, svg
from segtricks.reports.tables import figure
from segtricks.runs import file_name, logged_rows, shown_path, without_folders
from segtricks.scoring.results import (
    Result,
    flat_config,
    is_before,
    main_row,
    read_config,
    read_file,
    read_json,
    result_files,
    was_trained,
)

_PATH = re.compile(r"(?<![\w./:\\])(?:file://|~\w*|[A-Za-z]:)?(?:[/\\][^/\\\s'\"`,;:|<>()\[\]{}]+){2,}")
_WORST = 20
_PER_IMAGE = ("iou", "acc", "max_fbeta", "mae", "size")
_FIRST = (
    *("model.class_path", "model.method", "model.backbone", "model.backbone_checkpoint", "model.head", "model.crop"),
    *("model.guided_filter", "model.teacher", "model.refiner.radius", "model.refiner.eps", "model.refine_at"),
    *("model.tau", "model.optimizer.class_path", "model.optimizer.lr", "model.lr_scheduler.class_path"),
    *("trainer.max_epochs", "trainer.max_steps", "trainer.precision", "data.train", "data.train_limit", "data.size"),
    *("data.test_size", "data.batch_size", "seed_everything"),
)


@dataclass
class Table:
    """A table of the page.

    Args:
        header: titles of the columns.
        rows: of the same length; the first cell of each is its title.
        caption: above the table.
        words: so many first columns hold text, the others numbers.
        dim: numbers of rows that are there to compare with.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    words: int = 1
    dim: Collection[int] = ()


@dataclass
class Picture:
    """A picture in the page: its file name, and a data URI; None where the file cannot be read."""

    name: str
    data: Markup | None = None
    width: int | None = None
    height: int | None = None


def run_page(run: Path, output: Path) -> str:
    """Return the page of a run, to be written to ``output``; links to the run's files are relative to that place.

    Raises:
        UserError: the run has neither scores nor curves, or one of its files is damaged.
    """
    config = read_config(run)
    rows = logged_rows(run)
    files = [file for file in result_files(run) if not is_before(file)]
    if not rows and not files:
        raise UserError(f"{run} has neither scores nor curves yet.\nNext: segtricks test --run {run} --data ecssd")
    return page_template().render(
        name=run.resolve().name,
        headline=_headline(files),
        options=_options(config),
        config=yaml.safe_dump(without_folders(config), sort_keys=False, allow_unicode=True, width=100),
        curves={term: chart(curve_figure(rows, [term])) for term in loss_terms(rows)},
        training=_training(rows),
        tests=[_test(run, file, config) for file in files],
        files=list(_files(run, output)),
    )


@cache
def page_template() -> Template:
    """Return the template of the page, which escapes what it shows and cuts absolute paths to their last part."""
    loader = PackageLoader("segtricks.reports", "")
    environment = Environment(loader=loader, autoescape=True, finalize=shown, trim_blocks=True)
    return environment.get_template("page.html.j2")


def shown(value: Any) -> Any:
    """Return any value as text that names no folder of this machine; ``Markup`` as it is."""
    if isinstance(value, Markup):
        return value
    plain = str(value).encode("utf-8", "backslashreplace").decode()
    return _PATH.sub(lambda path: "…/" + re.split(r"[/\\]", path[0])[-1], plain)


def chart(drawn: Figure | None) -> Picture | None:
    """Return a figure as an SVG of its own, so that the styles and names of the page and the figure do not meet."""
    return None if drawn is None else Picture("chart", _data_uri("svg+xml", svg(drawn).encode()))


def photo(path: Path, side: int = 1100) -> Picture:
    """Return a picture file, of at most ``side`` pixels a side."""
    try:
        with Image.open(path) as image:
            small = image.convert("RGB")
            small.thumbnail((side, side))
    except OSError:
        return Picture(path.name)
    file = io.BytesIO()
    small.save(file, "WEBP", quality=75)
    return Picture(path.name, _data_uri("webp", file.getvalue()), *small.size)


def _data_uri(kind: str, content: bytes) -> Markup:
    return Markup(f"data:image/{kind};base64,{base64.b64encode(content).decode()}")


def _headline(files: Sequence[Path]) -> Table:
    contents = [read_json(file) for file in files]
    metrics = [name for name in HEADLINES if any(name in content["metrics"] for content in contents)]
    rows = []
    for content in contents:
        scores = [_number(content["metrics"].get(name)) for name in metrics]
        protocol = content["protocol"]["name"]
        rows.append([content["dataset"], protocol, main_row(content), *scores, str(content["images"])])
    header = ["test set", "protocol", "mask", *map(title, metrics), "images"]
    return Table(header, rows, "In short", words=3)


def _options(config: Mapping[str, Any]) -> Table:
    flat = flat_config(config)
    chosen = [key for key in _FIRST if flat.get(key, "none") not in ("none", "-1")]
    return Table(["option", "value"], [(key, without_folders(flat[key])) for key in chosen], "What was run", words=2)


def _training(rows: Sequence[Mapping[str, float]]) -> str:
    if not rows:
        return ""
    text = f"{int(max(row['step'] for row in rows)) + 1:,} steps."
    held_out = {int(row["step"]): row["val/loss"] for row in rows if "val/loss" in row}
    if held_out:
        best = min(held_out, key=lambda step: held_out[step])
        text += f" Objective on held-out images: {held_out[best]:.4f} at best (step {best:,})."
    return text


def _left_out(entries: Sequence[Mapping[str, str]], how: str) -> Table:
    reasons = [(shown_path(entry["path"]), entry["reason"].replace(entry["path"], "")) for entry in entries]
    return Table(["file", "reason"], reasons, f"Files {how}: {len(entries):,}", words=2)


def _test(run: Path, file: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that the page shows of a result file."""
    content = read_json(file)
    results = [result for result in read_file(file, run.name, flat_config(config, was_trained(run))) if result.metrics]
    if not results:
        raise UserError(f"{file} holds no scores.\nNext: segtricks test --run {run} --data ecssd")
    first, checkpoint = results[0], content.get("checkpoint")
    left_out = content.get("skipped", [])
    by_set: dict[str | None, list[Mapping[str, str]]] = {None: []}
    for entry in left_out:
        by_set.setdefault(entry.get("of"), []).append(entry)
    skipped = by_set.pop(None)
    main = main_row(content)
    per_image = _per_image(file.with_name(f"{file.stem}-per-image.csv"), main)
    from segtricks.scoring.floors import find_targets, floors, protocol_of  # torch takes seconds

    targets = find_targets(first.dataset, [row["image"] for row in per_image], content.get("source") or {})
    bottom = {} if targets is None else floors(targets, protocol_of(content["protocol"]))
    protocol = [(key, str(value)) for key, value in content["protocol"].items() if value is not None]
    details = [
        _worst(per_image, main),
        Table(["choice", "value"], protocol, "Every choice of the protocol", words=2),
        _left_out(skipped, "skipped"),
        *(_left_out(entries, f"left out of {option}") for option, entries in by_set.items()),
    ]
    return {
        "title": f"{first.dataset}, protocol {first.protocol}",
        "counts": f"{first.images or 0:,} images, {len(skipped):,} skipped",
        "checkpoint": checkpoint and Path(checkpoint).name,
        "backbone": (content.get("provenance") or {}).get("weights"),
        "scores": _scores(file, results, bottom),
        "floors": bool(bottom),
        "no_floors": bool(per_image) and not bottom,
        "sizes": chart(bins_figure(content.get("size_bins") or {})),
        "examples": list(_examples(file.with_name(f"{file.stem}-examples"))),
        "panels": _panels(run, file, first.dataset),
        "details": [table for table in details if table.rows],
    }


def _scores(file: Path, results: Sequence[Result], bottom: Mapping[str, dict[str, float]]) -> Table:
    rows = {result.row: result.metrics for result in results}
    before = file.with_name(f"{file.stem}-before.json")
    if before.is_file():
        rows = {"before training": read_json(before)["rows"].get("mask", {}), **rows}
    metrics = [name for name in MEASURES if any(name in scores for scores in rows.values())]
    metrics += [name for name in results[0].metrics if name not in metrics]
    columns: dict[str, Mapping[str, float | None]] = {}
    for name in metrics:
        columns[title(name)] = {row: scores.get(name) for row, scores in {**rows, **bottom}.items()}
        published = {result.row: result.published(name) for result in results}
        if any(published.values()):
            columns[f"published {title(name)}"] = published
    lines = [[row, *(_number(column.get(row)) for column in columns.values())] for row in (*rows, *bottom)]
    return Table(["mask", *columns], lines, "Scores, 1 is best; for mae 0 is", dim=range(len(rows), len(lines)))


def _examples(folder: Path) -> Iterator[tuple[str, dict[str, Picture]]]:
    if not (folder / "index.json").is_file():
        return
    for example in read_json(folder / "index.json")["examples"]:
        caption = f"{example['group']}: {shown_path(example['image'])}, IoU {figure(example['iou'])}"
        yield caption, {name: photo(folder / Path(file).name, 320) for name, file in example["pictures"].items()}


def _panels(run: Path, file: Path, dataset: str) -> Picture | None:
    """The picture of the first images, unless a later test by another protocol has replaced it."""
    path = run / "figures" / f"test-{file_name(dataset)}.png"
    others = [other for other in result_files(run) if not is_before(other) and read_json(other)["dataset"] == dataset]
    newest = max(other.stat().st_mtime for other in others)
    return photo(path) if path.is_file() and file.stat().st_mtime >= newest else None


def _worst(per_image: Sequence[Mapping[str, str]], main: str) -> Table:
    scored = [row for row in per_image if row.get("iou")]
    ranked = sorted(scored, key=lambda row: float(row["iou"]))[:_WORST]
    names = [name for name in _PER_IMAGE if ranked and name in ranked[0]]
    lines = [[shown_path(row["image"]), *(_number(row[name] or "nan") for name in names)] for row in ranked]
    header = ["image", *("object size" if name == "size" else title(name) for name in names)]
    return Table(header, lines, f"The {len(lines)} images of lowest IoU ({main})")


def _files(run: Path, output: Path) -> Iterator[tuple[str, str | None]]:
    """Name and link of the run's files; from elsewhere a link would name folders of this machine, so there is none."""
    found = [run / "config.yaml", run / "metrics.csv", *sorted((run / "test").glob("[!.]*.*"))]
    found += sorted((run / "figures").glob("[!.]*.png")) + sorted((run / "checkpoints").glob("[!.]*.ckpt"))
    for path in found:
        if path.is_file():
            place, here = path.resolve(), output.resolve().parent
            link = quote(place.relative_to(here).as_posix()) if place.is_relative_to(here) else None
            yield path.relative_to(run).as_posix(), link


def _per_image(path: Path, row: str) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        return [line for line in csv.DictReader(file) if line.get("mask", row) == row]


def _number(value: Any) -> str:
    return "" if value is None else figure(float(value))
