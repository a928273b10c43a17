"""``segtricks discover``: photographs in, masks and boxes of a training-free method out."""

import logging
import os
from argparse import Namespace
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from segtricks.backbones.feature_cache import cache_features
from segtricks.commands.feature_options import add_cache_options
from segtricks.commands.options import OptionParser
from segtricks.commands.processes import (
    Share,
    check_settings,
    digest,
    join_boxes,
    join_indices,
    place,
    publish,
    share,
)
from segtricks.data import ImageFolder, fit_short_side
from segtricks.data.loading import WholeItems, collate_lists, make_loader, processors
from segtricks.data.saliency import SaliencyDataset
from segtricks.data.transforms import denormalize, to_input
from segtricks.discovery.predictor import DISCOVERY_METHODS, WHY_EMPTY, Discoverer
from segtricks.errors import UserError
from segtricks.refine import BILATERAL_PRESETS, GuidedFilter
from segtricks.reports.boxes import coco_boxes
from segtricks.reports.mask_writer import MaskWriter
from segtricks.reports.tables import write_json

USAGE = (
    "--images PHOTOS --output MASKS [--method tokencut] [--backbone dino_vits16] [--backbone_checkpoint FILE]\n"
    "       [--head FILE] [--refine none|guided_filter|bilateral_solver] [--bilateral_preset two-tricks|tokencut]\n"
    "       [--refine_at model|full] [--size 320] [--shard 1/4] [--overwrite] [--batch_size 8] [--num_workers N]\n"
    "       [--cache-features] [--cache_dir DIR]"
)
SETTINGS = ("method", "backbone", "backbone_checkpoint", "head", "tau", "k", "threshold", "size")
REFINEMENT = ("refine", "bilateral_preset", "refine_at")
_RANGES = {"size": (1, 8192, 320), "batch_size": (1, 4096, 8), "num_workers": (0, 1024, 4), "k": (1, 10**6, 100)}
log = logging.getLogger(__name__)


def main(words: Sequence[str]) -> None:
    """Run the command with its option words."""
    options = _options(words)
    photos, output = Path(options.images), Path(options.output)
    if output.resolve() == photos.resolve():
        raise UserError(f"--output {output} is the folder of the photographs: pass another one.")
    dataset = ImageFolder(photos)
    paths = dataset.images
    rank, world = place()
    part = share(options.shard).split(rank, world)
    chosen = part.of(paths)
    settings = {name: getattr(options, name) for name in SETTINGS + REFINEMENT}
    if not options.overwrite:
        check_settings(output, settings)
    writer = MaskWriter(dataset.root, output, paths)
    todo = [path for path in chosen if options.overwrite or not writer.exists(path)]
    if todo:
        choices = {name: getattr(options, name) for name in ("method", "backbone", "head", "tau", "k", "threshold")}
        discoverer = Discoverer(checkpoint=options.backbone_checkpoint, **choices).to(options.device)
        if options.cache_features:
            cache_features(discoverer.backbone, options.cache_dir)
        refine = _refiner(options)
        writer.discard(todo if options.overwrite else [])  # before the settings, which vouch for all masks there
        write_json(output / "settings.json", settings)
        with writer.at_work(len(todo), options.method):
            for items in _equal_sizes(_loader(todo, discoverer.patch_size, options), options.batch_size, writer):
                _write(items, discoverer, refine, writer, options)
    _report(
        writer,
        paths,
        chosen,
        len(chosen) - len(todo),
        part,
        digest([str(writer.relative(path)) for path in paths], settings),
    )


def _report(writer: MaskWriter, paths: list[Path], chosen: list[Path], there: int, part: Share, work: str) -> None:
    """Write the boxes and the index, and say what was done."""
    broken = {path for path, _ in writer.skipped}
    boxes = coco_boxes(writer, paths, [path for path in chosen if str(path) not in broken])
    boxed = {annotation["image_id"] for annotation in boxes["annotations"]}
    empty = [image["file_name"] for image in boxes["images"] if image["id"] not in boxed]
    sizes = {image["id"]: image["width"] * image["height"] for image in boxes["images"]}
    full = sum(annotation["area"] == sizes[annotation["image_id"]] for annotation in boxes["annotations"])
    publish(writer.output / "boxes.json", part, work, boxes, join_boxes)
    index = publish(writer.output / "index.json", part, work, writer.index(there) | {"empty": empty}, join_indices)
    for path, reason in writer.skipped:
        print(f"skipped {path}: {reason}")
    pace = f" {writer.pace()}" if writer.written else ""
    before = f", {there:,} were there" if there else ""
    print(
        f"{len(writer.written):,} of {len(chosen):,} photographs written to {writer.output}{pace}{before}; "
        f"{len(empty):,} empty masks, {full:,} of everything, {len(writer.skipped):,} unreadable files: "
        f"soft/, binary/, overlay/, boxes{part.suffix}.json, index{part.suffix}.json"
    )
    if part.count > 1 and index is not None:
        print(f"All {part.count} parts are there: boxes.json and index.json hold them together.")


def _options(words: Sequence[str]) -> Namespace:
    parser = OptionParser("discover", USAGE)
    parser.add_argument("--images", required=True)
    parser.add_argument("--output", required=True)
    parser.add_argument("--method", choices=DISCOVERY_METHODS, default="tokencut")
    parser.add_argument("--backbone", default="dino_vits16")
    parser.add_argument("--backbone_checkpoint")
    parser.add_argument("--head")
    parser.add_argument("--tau", type=float, default=0.2)
    parser.add_argument("--k", type=int, default=100)
    parser.add_argument("--threshold", type=float, default=0.3)
    parser.add_argument("--refine", choices=("none", "guided_filter", "bilateral_solver"), default="none")
    parser.add_argument("--bilateral_preset", choices=tuple(BILATERAL_PRESETS), default="two-tricks")
    parser.add_argument("--refine_at", choices=("model", "full"), default="model")
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--shard", default="1/1")
    parser.add_argument("--overwrite", action="store_true")
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--num_workers", type=int)
    parser.add_argument("--device", default=_device())
    add_cache_options(parser)
    options = parser.parse_args(words)
    for name, (lowest, highest, example) in _RANGES.items():
        value = getattr(options, name)
        if value is not None and not lowest <= value <= highest:
            raise UserError(f"--{name} is {value}: it lies in {lowest} to {highest:,}, for example --{name} {example}.")
    try:
        torch.zeros(1, device=options.device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device {options.device!r} cannot be used here ({str(error).splitlines()[0]}).") from error
    return options


def _device() -> str:
    """The first GPU; of several processes on a machine, each its own."""
    return f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu"


def _refiner(options: Namespace) -> Callable[[Tensor, Tensor], Tensor] | None:
    if options.refine == "none":
        return None
    return GuidedFilter() if options.refine == "guided_filter" else BILATERAL_PRESETS[options.bilateral_preset]


def _loader(paths: list[Path], patch_size: int, options: Namespace) -> DataLoader[Any]:
    workers = options.num_workers
    if workers is None:
        # On a CPU, computing and writing keep two processors busy. Starting a worker takes as long as some photographs.
        free = processors() - 2 if options.device == "cpu" else processors()
        workers = max(0, min(free, len(paths) // 8))
    transform = partial(fit_short_side, size=options.size, multiple=patch_size)
    items = WholeItems(SaliencyDataset("photographs", paths), transform)
    return make_loader(items, 1, partial(collate_lists, names=("image", "photo", "path")), workers, None)


def _equal_sizes(loader: DataLoader[Any], size: int, writer: MaskWriter) -> Iterator[list[dict[str, Any]]]:
    """Gather images of equal size into batches; list broken ones. No more than four batches of images are held."""
    waiting: dict[tuple[int, ...], list[dict[str, Any]]] = defaultdict(list)
    for batch in loader:
        for path, reason in batch["skipped"]:
            writer.skip(path, reason)
        for image, photo, path in zip(batch["image"], batch["photo"], batch["path"], strict=True):
            waiting[tuple(image.shape)].append({"image": _own(image), "photo": _own(photo), "path": path})
        longest = max(waiting, key=lambda shape: len(waiting[shape]), default=None)
        if longest and (len(waiting[longest]) == size or sum(map(len, waiting.values())) >= 4 * size):
            yield waiting.pop(longest)
    yield from waiting.values()


def _own(tensor: Tensor) -> Tensor:
    """The tensor in this process's memory: each that a worker shares keeps a file open."""
    return tensor.clone() if tensor.is_shared() else tensor


def _write(
    items: list[dict[str, Any]],
    discoverer: Discoverer,
    refine: Callable[[Tensor, Tensor], Tensor] | None,
    writer: MaskWriter,
    options: Namespace,
) -> None:
    """Write the masks of images of one size, and log which are empty."""
    images = to_input(torch.stack([item["image"] for item in items]).to(options.device))
    grids = discoverer(images)
    if refine is not None and options.refine_at == "model":
        masks = refine(discoverer.enlarge(grids, images.shape[-2:]), denormalize(images)).clamp(0, 1)
    for i, item in enumerate(items):
        size, photo = item["photo"].shape[-2:], item["photo"]
        if refine is None:
            mask = discoverer.enlarge(grids[i : i + 1], size)
        elif options.refine_at == "model":
            mask = torch.nn.functional.interpolate(masks[i : i + 1], size=size, mode="bilinear", align_corners=False)
        else:
            guidance = photo[None].to(options.device).float() / 255
            mask = refine(discoverer.enlarge(grids[i : i + 1], size), guidance).clamp(0, 1)
        mask = mask[0].cpu()
        writer.write(mask, photo, Path(item["path"]))
        if not bool((mask > 0.5).any()):
            log.warning("%s: empty mask (%s)", item["path"], WHY_EMPTY[discoverer.method])
