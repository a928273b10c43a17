"""Photographs in, masks out: what ``predict`` and ``discover`` share."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from segtricks.commands.lightning_cli import SegtricksCLI, quiet
from segtricks.commands.options import NO_MODEL, config_words, run_words
from segtricks.commands.outputs import export, find_photographs, frames_gone, from_the_first, prepare, write_overlays
from segtricks.commands.run_loading import made_here
from segtricks.commands.task import Task
from segtricks.data import ImageFolder, fit_short_side
from segtricks.data.datamodule import RunData, whole_size
from segtricks.data.loading import OnHost, WholeItems, collate_lists, finished, make_loader
from segtricks.data.sample import SegmentationDataset
from segtricks.errors import UserError
from segtricks.methods.base import weights_of
from segtricks.methods.foreground import find_sign
from segtricks.methods.released import CONFIG as RELEASED
from segtricks.methods.released import WEIGHTS, load_released_weights
from segtricks.parallel import one_voice, place
from segtricks.pseudo_labels import Store, write_page
from segtricks.pseudo_labels.mask_files import warn_one_sided
from segtricks.pseudo_labels.parts import (
    Share,
    changed_settings,
    check_settings,
    digest,
    join_boxes,
    join_indices,
    publish,
)
from segtricks.pseudo_labels.writer import MaskWriter
from segtricks.runs import shown_path, write_json
from segtricks.training.checkpoints import read_checkpoint

_HELD = 4  # batches of photographs that wait for others of their size, at most
_FOR_A_WORKER = 8  # photographs: starting a reading process takes as long as reading some


@dataclass(frozen=True)
class Model:
    """What makes the masks.

    Args:
        words: options that make it.
        checkpoint: its weights; None is the ``released`` head, or a method that needs none.
        released: take the head that ships with segtricks.
        row: which of its rows to write; None is its own choice.
        polarity: which masks are turned over.
        command: that asks for them.
    """

    words: Sequence[str]
    checkpoint: Path | None = None
    released: bool = False
    row: str | None = None
    polarity: str = "none"
    command: str = "predict"


def chosen_model(run: str | None, ckpt_path: str | None, configs: Sequence[str], words: Sequence[str]) -> Model:
    """Return the model of ``--run``, of ``--config`` with or without ``--ckpt_path``, or else the released one.

    Raises:
        UserError: there is none.
    """
    if run is None and ckpt_path is None:
        own = config_words(configs) if configs else ["--config", str(RELEASED)]
        return Model([*own, *words], released=not configs)
    _, own, checkpoint = run_words(run, ckpt_path, configs)
    return Model([*own, *words], checkpoint)


def write_masks(task: Task, model: Model, title: str) -> None:
    """Write the masks that are not there, boxes if asked for, and the index; say what was done.

    Args:
        task: what to write.
        model: what makes the masks.
        title: of the progress bar.

    Raises:
        UserError: nothing could be read, there is no such model, or ``output`` holds masks of other settings.
    """
    quiet()
    with one_voice():
        dataset, fps = find_photographs(task.photos, task.output, task.outputs, task.overwrite)
        cli = SegtricksCLI(
            model.words,
            bar=False,
            command=model.command,
            enable_checkpointing=False,
            use_distributed_sampler=False,  # the list is split here
        )
        _make_ready(cli, model, dataset.images)
        writer: MaskWriter = cli.model.writer_class(
            dataset.root, task.output, dataset.images, formats=task.outputs.formats
        )
        part = task.shard.split(*_rank(cli.trainer))
        prepare(task.outputs, writer, part)
        dataset.decide_reading()
        dataset.warn_of_reading(dataset.name)
        settings = _settings(cli, model)
        if task.outputs.steady is not None:
            settings["steady"] = task.outputs.steady
        if not task.overwrite:
            check_settings(task.output, settings)
        there = _predict(cli, task, model, dataset, writer, part, settings, title)
        _report(cli, task, dataset, writer, part, settings, _source(cli, model), there, fps)
        if task.page and cli.trainer.is_global_zero and (task.output / "index.json").is_file():
            write_page(Store.open(task.output), dataset.images, task.output / "page.html", dataset.root, task.limit)


def begin_again(task: Task, model: Model) -> None:
    """Remove all masks that are there and write ``settings.json``, for shards that make them again.

    Raises:
        UserError: there are no photographs, or no such model.
    """
    dataset, _ = find_photographs(task.photos, task.output, task.outputs, task.overwrite)
    cli = made_here(model.words)
    cli.model.writer_class(dataset.root, task.output, dataset.images).discard(dataset.images)
    write_json(task.output / "settings.json", _settings(cli, model))


def _make_ready(cli: SegtricksCLI, model: Model, paths: list[Path]) -> None:
    if model.row is not None:
        cli.model.predicted_row = model.row
    cli.model.predict_polarity = model.polarity
    if model.released:
        load_released_weights(cli.model)
    elif model.checkpoint is not None:
        find_sign(cli.model, read_checkpoint(model.checkpoint), partial(cli.sample_images, paths))
    elif cli.model.needs_checkpoint:
        raise UserError(NO_MODEL)


def _rank(trainer: Trainer) -> tuple[int, int]:
    """Rank and number of processes: the trainer's, or the launcher's of which the trainer takes no notice."""
    return (trainer.global_rank, trainer.world_size) if trainer.world_size > 1 else place()


def _settings(cli: SegtricksCLI, model: Model) -> dict[str, Any]:
    """What the masks depend on."""
    data, hashed = cli.run_data, None
    if model.checkpoint is not None or model.released:
        with (model.checkpoint or WEIGHTS).open("rb") as file:
            hashed = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    settings = {"checkpoint": hashed, "model": cli.plain_config()["model"], "size": whole_size(data)}
    settings |= {"multiple": data.multiple}
    if model.row is not None:
        settings |= {"row": model.row, "polarity": model.polarity}
    return settings


def _source(cli: SegtricksCLI, model: Model) -> dict[str, str]:
    checkpoint = "the released head" if model.released else ""
    if model.checkpoint is not None:
        checkpoint = shown_path(model.checkpoint)
    return {"method": cli.model.description, "weights": weights_of(cli.model), "checkpoint": checkpoint}


def _predict(
    cli: SegtricksCLI,
    task: Task,
    model: Model,
    dataset: SegmentationDataset,
    writer: MaskWriter,
    part: Share,
    settings: dict[str, Any],
    title: str,
) -> int:
    """Write the masks of this process's part that are not there; return how many were."""
    trainer, chosen = cli.trainer, part.of(dataset.images)
    todo = [path for path in chosen if task.overwrite or not writer.exists(path)]
    if writer.steady is not None and todo:
        todo = from_the_first(todo[0], chosen, writer)
    made_now = set(todo)
    earlier = [path for path in chosen if path not in made_now]
    writer.recall(tqdm(earlier, "masks of before", unit=" images", disable=None, leave=False, delay=2))
    again = todo if task.overwrite else []
    images = dataset.images if task.overwrite else []
    begin = _Begin(writer, settings, [*again, *frames_gone(writer)], images)
    trainer.callbacks.extend([writer, begin])  # type: ignore[attr-defined]
    if todo or trainer.world_size > 1:  # Lightning starts the other processes of this machine here
        loader = _loader(todo, dataset, cli.run_data)
        batches = _EqualSizes(loader, cli.run_data.eval_batch_size, in_order=task.outputs.video)
        with writer.at_work(len(todo), title, cli.wants_bar and trainer.is_global_zero):
            ckpt = None if model.checkpoint is None else str(model.checkpoint)
            trainer.predict(cli.model, batches, ckpt_path=ckpt, return_predictions=False, weights_only=True)
    return len(chosen) - len(todo)


class _Begin(Callback):
    """Once the model is ready, and before masks are written: remove old ones, then write ``settings.json``.

    In this order, for the settings vouch for all masks that are there. Of shards that start at once, the first one to
    find other settings removes the masks of all, and the others find their own settings.

    Args:
        writer: of the masks.
        settings: of the masks.
        old: photographs whose masks are removed.
        images: all photographs, whose masks are removed where they have other settings.
    """

    def __init__(
        self, writer: MaskWriter, settings: dict[str, Any], old: Sequence[Path], images: Sequence[Path]
    ) -> None:
        self.writer, self.settings, self.old, self.images = writer, settings, old, images

    def on_predict_start(self, trainer: Trainer, module: LightningModule) -> None:
        if trainer.is_global_zero:
            self._write_settings()
        trainer.strategy.barrier()
        self.writer.discard(self.old)

    def _write_settings(self) -> None:
        output = self.writer.output
        if not self.images:
            return write_json(output / "settings.json", self.settings)
        output.mkdir(parents=True, exist_ok=True)
        lock = output / ".settings.lock"
        with FileLock(lock):
            if changed_settings(output, self.settings):
                self.writer.discard(self.images)
            write_json(output / "settings.json", self.settings)
        with suppress(OSError):  # Windows keeps it for a shard that waits; whichever comes next removes no mask of all
            lock.unlink()


def _loader(paths: list[Path], whole: SegmentationDataset, data: RunData) -> DataLoader[Any]:
    transform = partial(fit_short_side, size=whole_size(data), multiple=data.multiple)
    part = SegmentationDataset("photographs", paths)
    part.reading = whole.reading
    items = WholeItems(part, transform)
    workers = min(data.num_workers, len(paths) // _FOR_A_WORKER)
    return make_loader(items, partial(collate_lists, names=("image", "photo", "path")), workers, batch_size=1)


class _EqualSizes:
    """Batches of photographs of equal size, which a network takes at once. No more than four batches are held.

    Args:
        loader: of single photographs.
        size: photographs of a batch.
        in_order: keep their order, also where sizes differ.
    """

    def __init__(self, loader: DataLoader[Any], size: int, in_order: bool = False) -> None:
        self.loader, self.size, self.in_order = loader, size, in_order

    def __iter__(self) -> Iterator[dict[str, Any]]:
        waiting: dict[tuple[int, ...], list[tuple[Tensor, Tensor, str]]] = defaultdict(list)
        for single in self.loader:
            if single["skipped"]:
                yield _batch([], single["skipped"])
                continue
            (image,), (photo,), (path,) = single["image"], single["photo"], single["path"]
            if self.in_order and waiting and tuple(image.shape) not in waiting:
                yield _batch(waiting.popitem()[1])
            waiting[tuple(image.shape)].append((_own(image), _own(photo), path))
            longest = max(waiting, key=lambda shape: len(waiting[shape]))
            held = sum(map(len, waiting.values()))
            if len(waiting[longest]) == self.size or held >= _HELD * self.size:
                yield _batch(waiting.pop(longest))
        for left in waiting.values():
            yield _batch(left)


def _batch(items: list[tuple[Tensor, Tensor, str]], skipped: Sequence[tuple[str, str]] = ()) -> dict[str, Any]:
    batch = {
        "image": [image for image, _, _ in items],
        "photo": OnHost([photo for _, photo, _ in items]),
        "path": [path for _, _, path in items],
        "skipped": list(skipped),
    }
    return finished(batch)


def _own(tensor: Tensor) -> Tensor:
    """The tensor in this process's memory: each that a worker shares keeps a file open."""
    return tensor.clone() if tensor.is_shared() else tensor


def _report(
    cli: SegtricksCLI,
    task: Task,
    dataset: ImageFolder,
    writer: MaskWriter,
    part: Share,
    settings: dict[str, Any],
    source: dict[str, str],
    there: int,
    fps: Fraction,
) -> None:
    """Write this part's boxes and index, and the whole ones if it is the last; the first process says what was done."""
    trainer, paths = cli.trainer, dataset.images
    work = digest([str(writer.relative(path)) for path in paths], settings)
    made = export(task.outputs, writer, dataset, part, work)
    own = writer.index(there) | {"weights": source["weights"], "settings": settings, "source": source}
    if task.boxes:
        broken = {path for path, _ in writer.skipped}
        boxes = writer.coco(paths, [path for path in part.of(paths) if str(path) not in broken])
        own |= writer.counts(boxes)
        publish(task.output / "boxes.json", part, work, boxes, join_boxes)
    path = task.output / "index.json"
    if not trainer.is_global_zero:
        publish(path, part, work, own, join_indices)
        return trainer.strategy.barrier()
    trainer.strategy.barrier()
    whole = publish(path, part, work, own, join_indices)
    index, of = (own, part.of(paths)) if whole is None else (whole, paths)
    suffix = part.suffix if whole is None else ""
    for entry in index["skipped"]:
        print(f"skipped {entry['path']}: {entry['reason']}")
    if not index["images"] + index["already_there"] and of:
        raise UserError(f"None of the {len(of):,} files could be read; see {task.output / f'index{suffix}.json'}.")
    if whole is not None and task.outputs.video:
        made.append(write_overlays(writer, paths, fps))
    _print_counts(cli, task, writer, index, len(of), suffix, made)


def _print_counts(
    cli: SegtricksCLI,
    task: Task,
    writer: MaskWriter,
    index: dict[str, Any],
    photographs: int,
    suffix: str,
    made: list[str],
) -> None:
    world = cli.trainer.world_size
    pace = f" {writer.pace()}" if writer.written else ""
    first = f" in the first of {world} processes" if pace and world > 1 else ""
    before = f", {index['already_there']:,} were there" if index["already_there"] else ""
    files = [*(f"{kind}/" for kind in writer.written_kinds), *made]
    if task.boxes:
        files.append(f"boxes{suffix}.json")
    print(
        f"{index['images']:,} of {photographs:,} photographs written to {task.output}{pace}{first}{before}: "
        f"{', '.join([*files, f'index{suffix}.json'])}; {writer.summary(index)}"
    )
    empty, full = len(index["empty"]), len(index["full"])
    warn_one_sided(empty, full, index["images"] + index["already_there"], cli.model.why_one_sided())
