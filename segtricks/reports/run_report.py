"""One page on a run: what was trained, how, what it scored, and what that looks like."""

import csv
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from segtricks.errors import UserError
from segtricks.metrics.measures import MEASURES, title
from segtricks.reports.charts import size_chart, training_charts
from segtricks.reports.html_page import details, page, photo, svg, table, text
from segtricks.reports.tables import figure
from segtricks.runs import file_name, shown_path
from segtricks.scoring.floors import find_targets, floors, protocol_of
from segtricks.scoring.results import (
    Result,
    flat_config,
    is_before,
    main_row,
    read_config,
    read_file,
    read_json,
    result_files,
)
from segtricks.training.metrics_file import MetricsFile

_WORST = 20
_HEADLINE = ("acc", "iou", "max_fbeta", "corloc")
_FIRST = (
    *("model.class_path", "model.method", "model.backbone", "model.backbone_checkpoint", "model.head", "model.crop"),
    *("model.guided_filter", "model.teacher", "model.refiner.radius", "model.refiner.eps", "model.refine_at"),
    *("model.tau", "model.optimizer.class_path", "model.optimizer.lr", "model.lr_scheduler.class_path"),
    *("trainer.max_epochs", "trainer.max_steps", "trainer.precision", "data.train", "data.train_limit", "data.size"),
    *("data.batch_size", "seed_everything"),
)


def run_page(run: Path, output: Path) -> str:
    """Return the page of a run, to be written to ``output``; links to the run's files are relative to that place.

    Raises:
        UserError: the run has neither scores nor curves, or one of its files is damaged.
    """
    name = run.resolve().name
    config = read_config(run)
    rows = MetricsFile(run).rows()
    files = [file for file in result_files(run) if not is_before(file)]
    if not rows and not files:
        raise UserError(f"{run} has neither scores nor curves yet.\nNext: segtricks test --run {run} --data ecssd")
    body = [f"<h1>{text(name)}</h1>", *_summary(files), *_config(config)]
    body += ["<h2>Training</h2>", *_training(rows)]
    for file in files:
        body += _test(run, file, config, output)
    if not files:
        body.append(
            f'<h2>Tests</h2>\n<p class="dim">None yet. Next: segtricks test --run {text(name)} --data ecssd</p>'
        )
    body += ["<h2>Files</h2>", *_files(run, output)]
    return page(f"{name} - segtricks", body)


def _summary(files: list[Path]) -> Iterator[str]:
    contents = [read_json(file) for file in files]
    names = [name for name in _HEADLINE if any(name in content["metrics"] for content in contents)]
    rows = []
    for content in contents:
        figures = [content["metrics"].get(name) for name in names]
        cells = ["" if value is None else figure(value) for value in figures]
        rows.append(
            [content["dataset"], content["protocol"]["name"], main_row(content), *cells, str(content["images"])]
        )
    if rows:
        titles = [title(name) for name in names]
        yield table(["test set", "protocol", "mask", *titles, "images"], rows, words=3, caption="In short")


def _config(config: Mapping[str, Any]) -> Iterator[str]:
    flat = flat_config(config)
    rows = [(key, flat[key]) for key in _FIRST if flat.get(key, "none") not in ("none", "-1")]
    yield table(("option", "value"), [(key, _shown(value)) for key, value in rows], words=2, caption="What was run")
    whole = yaml.safe_dump(_without_folders(config), sort_keys=False, allow_unicode=True, width=100)
    yield details("Complete config", f'<pre tabindex="0">{text(whole)}</pre>')


def _training(rows: list[dict[str, float]]) -> Iterator[str]:
    held_out = {int(row["step"]): row["val/loss"] for row in rows if "val/loss" in row}
    charts = training_charts(rows)
    if not charts:
        yield '<p class="dim">No curves: metrics.csv holds no training.</p>'
        return
    line = f"{int(max(row['step'] for row in rows)) + 1:,} steps."
    if held_out:
        best = min(held_out, key=lambda step: held_out[step])
        line += f" Objective on held-out images: {held_out[best]:.4f} at best (step {best:,})."
    yield f"<p>{text(line)}</p>\n<div class='grid'>"
    for term, chart in charts.items():
        yield f"<figure><figcaption>{text(term)}</figcaption>{svg(chart, f'{term} over steps')}</figure>"
    yield "</div>"


def _test(run: Path, file: Path, config: Mapping[str, Any], output: Path) -> Iterator[str]:
    content = read_json(file)
    results = [result for result in read_file(file, run.name, flat_config(config)) if result.metrics]
    if not results:
        raise UserError(f"{file} holds no scores.\nNext: segtricks test --run {run} --data ecssd")
    main = main_row(content)
    per_image = _per_image(file.with_name(f"{file.stem}-per-image.csv"), main)
    skipped = content.get("skipped", [])
    yield f"<h2>{text(results[0].dataset)}, protocol {text(results[0].protocol)}</h2>"
    checkpoint = content.get("checkpoint")
    yield f"<p>{results[0].images or 0:,} images, {len(skipped):,} skipped" + (
        f"; weights of {text(Path(checkpoint).name)}.</p>" if checkpoint else ".</p>"
    )
    if weights := (content.get("provenance") or {}).get("weights"):
        yield f"<p>Backbone: {text(weights)}.</p>"
    yield from _scores(run, file, content, results, config, [row["image"] for row in per_image])
    chart = size_chart(content.get("size_bins") or {})
    if chart:
        yield f"<h3>IoU by object size</h3>\n<figure>{svg(chart, 'mean IoU by object size')}</figure>"
    yield from _pictures(run, file, results[0].dataset)
    yield from _worst(per_image, main)
    choices = [(key, str(value)) for key, value in content["protocol"].items() if value is not None]
    yield details("Every choice of the protocol", table(("choice", "value"), choices, words=2))
    if skipped:
        rows = [(shown_path(entry["path"]), entry["reason"].replace(entry["path"], "")) for entry in skipped]
        yield details(f"{len(skipped):,} skipped files", table(("file", "reason"), rows, words=2))


def _scores(
    run: Path,
    file: Path,
    content: Mapping[str, Any],
    results: list[Result],
    config: Mapping[str, Any],
    images: list[str],
) -> Iterator[str]:
    rows = {result.row: result.metrics for result in results}
    before = file.with_name(f"{file.stem}-before.json")
    if before.is_file():
        rows = {"before training": read_json(before)["rows"].get("mask", {})} | rows
    data = (config.get("data") or {}).get("init_args") or {}
    targets = find_targets(results[0].dataset, images, data, content.get("source"))
    bottom = floors(targets, protocol_of(content["protocol"])) if targets is not None else {}
    metrics = [name for name in MEASURES if any(name in figures for figures in rows.values())]
    metrics += [name for name in results[0].metrics if name not in metrics]
    paper = {(r.row, name): number for r in results for name in metrics if (number := r.published(name))}
    columns = [(name, published) for name in metrics for published in (False, True)]
    columns = [(name, published) for name, published in columns if not published or any(n == name for _, n in paper)]
    header = [f"published {title(name)}" if published else title(name) for name, published in columns]

    def cells(row: str, figures: Mapping[str, Any]) -> list[str]:
        shown = [paper.get((row, name)) if published else figures.get(name) for name, published in columns]
        return ["" if value is None else figure(float(value)) for value in shown]

    lines = [[row, *cells(row, figures)] for row, figures in (rows | bottom).items()]
    yield table(["mask", *header], lines, dim=range(len(rows), len(lines)), caption="Scores, 1 is best; for mae 0 is")
    if any("measure" in name or "fbeta" in name for name, _ in columns):
        yield (
            '<p class="dim">F is the F-measure, w F its weighted kind, s and e the S- and the E-measure: at the best '
            "threshold (max), over all (mean), at twice the mean of each mask (adp).</p>"
        )
    if bottom:
        yield '<p class="dim">In italics: what masks score that do not look at the image.</p>'
    elif images:
        yield '<p class="dim">No score floors: the targets are not found any more from the paths of the images.</p>'
    if paper:
        yield '<p class="dim">Published: arXiv 2404.03392, measured by its own protocol (two-tricks).</p>'


def _pictures(run: Path, file: Path, dataset: str) -> Iterator[str]:
    folder = file.with_name(f"{file.stem}-examples")
    if (folder / "index.json").is_file():
        yield "<h3>Best, middle and worst images by IoU</h3>"
        for example in read_json(folder / "index.json")["examples"]:
            title = f"{example['group']}: {shown_path(example['image'])}, IoU {figure(example['iou'])}"
            strip = [
                _captioned(folder / Path(picture).name, name, title) for name, picture in example["pictures"].items()
            ]
            yield f'<figure><figcaption>{text(title)}</figcaption><div class="strip">{"".join(strip)}</div></figure>'
        return
    panels = run / "figures" / f"test-{file_name(dataset)}.png"
    same = [other for other in result_files(run) if not is_before(other) and read_json(other)["dataset"] == dataset]
    # The picture is drawn anew by every protocol, under the same name.
    if panels.is_file() and file.stat().st_mtime >= max(other.stat().st_mtime for other in same):
        yield "<h3>The first images</h3>"
        yield f'<figure class="card">{_readable(panels, "image, masks and target of the first images")}</figure>'


def _captioned(path: Path, name: str, title: str) -> str:
    picture = _readable(path, f"{name}, {title}", 320)
    return f"<figure>{picture}<figcaption>{text(name)}</figcaption></figure>"


def _readable(path: Path, name: str, side: int = 1100) -> str:
    try:
        return photo(path, name, side)
    except OSError:
        return f'<p class="dim">{text(path.name)} cannot be read.</p>'


def _worst(per_image: list[dict[str, str]], main: str) -> Iterator[str]:
    ranked = sorted((row for row in per_image if row.get("iou")), key=lambda row: float(row["iou"]))[:_WORST]
    if ranked:
        names = [name for name in ("iou", "acc", "max_fbeta", "mae", "size") if name in ranked[0]]
        lines = [[shown_path(row["image"]), *(figure(float(row[name] or "nan")) for name in names)] for row in ranked]
        header = ["image", *("object size" if name == "size" else title(name) for name in names)]
        yield details(f"The {len(lines)} images of lowest IoU ({main})", table(header, lines))


def _files(run: Path, output: Path) -> Iterator[str]:
    found = [run / "config.yaml", run / "metrics.csv", *sorted((run / "test").glob("*.*"))]
    found += sorted((run / "figures").glob("*.png")) + sorted((run / "checkpoints").glob("*.ckpt"))
    yield "<ul>"
    for path in found:
        if path.is_file():
            name = path.relative_to(run).as_posix()
            link = Path(os.path.relpath(path.resolve(), output.resolve().parent)).as_posix()
            # From elsewhere a link would name the folders of this machine.
            yield (
                f'<li><a href="{text(quote(link))}">{text(name)}</a></li>'
                if ".." not in link
                else f"<li>{text(name)}</li>"
            )
    yield "</ul>"


def _per_image(path: Path, row: str) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        return [line for line in csv.DictReader(file) if line.get("mask", row) == row]


def _shown(value: str) -> str:
    return shown_path(value) if value.startswith(("/", "~")) else value


def _without_folders(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {_without_folders(key): _without_folders(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_folders(inner) for inner in value]
    return _shown(value) if isinstance(value, str) else value
