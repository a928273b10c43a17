"""``segtricks predict``: photographs in, masks and overlays out."""

import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch.utils.data import DataLoader

from segtricks.commands.helping import show_help, wants_help
from segtricks.commands.lightning_cli import SegtricksCLI, quiet
from segtricks.commands.options import OptionParser, add_page_options, add_run_options, run_words, take_configs
from segtricks.commands.processes import Share, check_settings, digest, join_indices, one_voice, publish, share
from segtricks.commands.signs import find_sign
from segtricks.data import ImageFolder, fit_short_side
from segtricks.data.datamodule import RunData
from segtricks.data.loading import Item, Skipped, WholeItems, collate_lists, finished, make_loader
from segtricks.data.sample import SegmentationDataset
from segtricks.errors import UserError
from segtricks.methods.base import weights_of
from segtricks.methods.released import CONFIG as RELEASED
from segtricks.methods.released import WEIGHTS, load_released_weights
from segtricks.pseudo_labels import Store, write_page
from segtricks.reports.writer import MaskWriter, count_one_sided, warn_one_sided
from segtricks.runs import shown_path, write_json
from segtricks.training.checkpoints import read_checkpoint

USAGE = (
    "--images PHOTOS --output MASKS [--run runs/NAME] [--shard 1/4] [--overwrite]\n"
    "       [--page] [--cache_features] [--cache_dir DIR] [--any.option value]\n\n"
    "Without --run (or --config CONFIG --ckpt_path FILE) the head that ships with segtricks is used."
)
_WHY_ONE_SIDED = (
    "Likely the head has learned nothing: look at figures/validation.png of its run.\n"
    "Next: train longer, with another --model.tau (such as share:0.5) or --model.feature; or leave out --run."
)


def main(words: Sequence[str]) -> None:
    """Run the command with its option words."""
    parser = _parser()
    if wants_help(words):
        return show_help(parser, words)
    configs, words = take_configs(words)
    options, rest = parser.parse_known_args(words)
    photos, output = Path(options.images), Path(options.output)
    if output.resolve() == photos.resolve():
        raise UserError(f"--output {output} is the folder of the photographs: pass another one.")
    if photos.resolve() in output.resolve().parents:
        raise UserError(f"--output {output} lies among the photographs, and would be one of them: pass another one.")
    shard = share(options.shard)
    dataset = ImageFolder(photos)
    checkpoint = None
    if options.run is None and options.ckpt_path is None and not configs:
        model_words = ["--config", str(RELEASED)]
    else:
        _, model_words, checkpoint = run_words(options.run, options.ckpt_path, configs)
    quiet()
    with one_voice():
        writer = MaskWriter(dataset.root, output, dataset.images)
        cli = SegtricksCLI(
            [*model_words, *rest],
            callbacks=lambda config: [writer],
            bar=False,
            enable_checkpointing=False,
            use_distributed_sampler=False,  # the list is split here
        )
        if checkpoint is None:
            load_released_weights(cli.model)
        else:
            find_sign(cli, read_checkpoint(checkpoint), dataset.images)
        _predict(cli, checkpoint, dataset.images, writer, shard, options.overwrite)
        if options.page and cli.trainer.is_global_zero:
            write_page(Store.open(output), dataset.images, output / "page.html", dataset.root, options.limit)


def _parser() -> OptionParser:
    parser = OptionParser("predict", USAGE)
    add_run_options(parser)
    parser.add_argument("--images", required=True, metavar="PHOTOS", help="folder or text list of photographs")
    parser.add_argument("--output", required=True, metavar="MASKS", help="folder for soft/, binary/ and overlay/")
    parser.add_argument("--shard", default="1/1", metavar="I/N", help="write only this part of the photographs")
    parser.add_argument("--overwrite", action="store_true", help="make masks again that are there")
    add_page_options(parser)
    return parser


def _predict(
    cli: SegtricksCLI, checkpoint: Path | None, paths: list[Path], writer: MaskWriter, shard: Share, overwrite: bool
) -> None:
    """Write the masks of this process's part that are not there, then its part of the index."""
    trainer, output = cli.trainer, writer.output
    settings = _settings(cli, checkpoint)
    if not overwrite:
        check_settings(output, settings)
    part = shard.split(trainer.global_rank, trainer.world_size)
    chosen = part.of(paths)
    todo = [path for path in chosen if overwrite or not writer.exists(path)]
    trainer.callbacks.append(_Begin(writer, todo if overwrite else [], settings))  # type: ignore[attr-defined]
    if todo or trainer.world_size > 1:  # Lightning starts the other processes of this machine here
        loader = _loader(todo, cli.run_data)
        with writer.at_work(len(todo), "predict", cli.wants_bar and trainer.is_global_zero):
            ckpt = None if checkpoint is None else str(checkpoint)
            trainer.predict(cli.model, loader, ckpt_path=ckpt, return_predictions=False, weights_only=True)
    source = {
        "method": type(cli.model).__name__,
        "weights": weights_of(cli.model),
        "checkpoint": "the released head" if checkpoint is None else shown_path(checkpoint),
    }
    own = writer.index(len(chosen) - len(todo)) | {
        "weights": source["weights"],
        "settings": settings,
        "source": source,
    }
    work = digest([str(writer.relative(path)) for path in paths], settings)
    _report(cli, paths, part, work, writer, own)


class _Begin(Callback):
    """Once the model is ready, and before masks are written: remove old ones, then write ``settings.json``.

    In this order and in all processes, for the settings vouch for all masks that are there.
    """

    def __init__(self, writer: MaskWriter, old: list[Path], settings: dict[str, Any]) -> None:
        self.writer, self.old, self.settings = writer, old, settings

    def on_predict_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.writer.discard(self.old)
        trainer.strategy.barrier()
        if trainer.is_global_zero:
            write_json(self.writer.output / "settings.json", self.settings)


def _report(
    cli: SegtricksCLI, paths: list[Path], part: Share, work: str, writer: MaskWriter, own: dict[str, Any]
) -> None:
    """Write this part's index, and the whole one if it is the last; the first process says what all have done."""
    trainer, path = cli.trainer, writer.output / "index.json"
    if not trainer.is_global_zero:
        publish(path, part, work, own, join_indices)
        return trainer.strategy.barrier()
    trainer.strategy.barrier()
    whole = publish(path, part, work, own, join_indices)
    index, of, name = (own, part.of(paths), f"index{part.suffix}.json") if whole is None else (whole, paths, path.name)
    for entry in index["skipped"]:
        print(f"skipped {entry['path']}: {entry['reason']}")
    if not index["images"] + index["already_there"] and of:
        raise UserError(f"None of the {len(of):,} files could be read; see {writer.output / name}.")
    pace = f" {writer.pace()}" if writer.written else ""
    share = f" in the first of {trainer.world_size} processes" if pace and trainer.world_size > 1 else ""
    before = f", {index['already_there']:,} were there" if index["already_there"] else ""
    empty, full = len(index["empty"]), len(index["full"])
    print(
        f"{index['images']:,} of {len(of):,} photographs written to {writer.output}{pace}{share}{before}: "
        f"soft/, binary/, overlay/, {name}; {count_one_sided(empty, full)}"
    )
    warn_one_sided(empty, full, index["images"], _WHY_ONE_SIDED)


def _settings(cli: SegtricksCLI, checkpoint: Path | None) -> dict[str, Any]:
    """What the masks depend on."""
    with (checkpoint or WEIGHTS).open("rb") as file:
        hashed = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    data = cli.run_data
    return {"checkpoint": hashed, "model": cli.plain_config()["model"], "size": data.size, "multiple": data.multiple}


def _loader(paths: list[Path], data: RunData) -> DataLoader[Any]:
    transform = partial(fit_short_side, size=data.size, multiple=data.multiple)
    items = WholeItems(SegmentationDataset("photographs", paths), transform)
    return make_loader(items, data.eval_batch_size, _collate, data.num_workers, None)


def _collate(items: Sequence[Item | Skipped]) -> dict[str, Any]:
    return finished(collate_lists(items, ("image", "photo", "path")))
