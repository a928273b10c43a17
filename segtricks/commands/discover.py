"""``segtricks discover``: photographs in, masks and boxes of a training-free method out."""

import json
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

from segtricks.backbones.affinity import affinity_of
from segtricks.backbones.factory import FEATURES
from segtricks.backbones.feature_cache import cache_features
from segtricks.commands.feature_options import add_cache_options
from segtricks.commands.options import OptionParser, add_page_options
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
from segtricks.data.sample import SegmentationDataset
from segtricks.data.transforms import denormalize, to_input
from segtricks.discovery.methods import METHODS
from segtricks.discovery.predictor import Discoverer
from segtricks.errors import UserError
from segtricks.losses.tau import Tau, share_of
from segtricks.metrics import apply_polarity
from segtricks.pseudo_labels import Store, write_page
from segtricks.refine import BILATERAL_PRESETS, GuidedFilter
from segtricks.reports.writer import MaskWriter, coco_boxes, count_one_sided, warn_one_sided
from segtricks.runs import shown_path, write_json

USAGE = "--images PHOTOS --output MASKS [--method tokencut] [--backbone dino_vits16] [--option value]"
SETTINGS = (
    *("method", "backbone", "backbone_checkpoint", "head", "feature", "layer", "tau", "k", "threshold", "size"),
    "polarity",
)
REFINEMENT = ("refine", "bilateral_preset", "refine_at")
_RANGES = {"size": (1, 8192, 320), "batch_size": (1, 4096, 8), "num_workers": (0, 1024, 4), "k": (1, 10**6, 100)}
_NAMED = 5  # empty masks, one by one; index.json lists all
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
    weights, why = _earlier_weights(output), "Next: look at some of them, and try another --tau or --feature."
    if todo:
        names = ("method", "backbone", "head", "tau", "k", "threshold", "feature", "layer")
        choices = {name: getattr(options, name) for name in names}
        discoverer = Discoverer(checkpoint=options.backbone_checkpoint, **choices).to(options.device)
        if options.cache_features:
            cache_features(discoverer.backbone, options.cache_dir)
        refine = _refiner(options)
        writer.discard(todo if options.overwrite else [])  # before the settings, which vouch for all masks there
        write_json(output / "settings.json", settings)
        with writer.at_work(len(todo), options.method):
            for items in _equal_sizes(_loader(todo, discoverer.patch_size, options), options.batch_size, writer):
                _write(items, discoverer, refine, writer, options)
        weights, why = discoverer.weights, discoverer.why_one_sided()
    checkpoints = [shown_path(path) for path in (options.backbone_checkpoint, options.head) if path]
    source = {
        "method": f"{options.method} on {options.backbone}",
        "weights": weights,
        "checkpoint": ", ".join(checkpoints),
    }
    header = {"weights": weights, "settings": settings, "source": source}
    whole = _report(
        writer,
        paths,
        chosen,
        len(chosen) - len(todo),
        part,
        digest([str(writer.relative(path)) for path in paths], settings),
        header,
        why,
    )
    if options.page and whole:
        write_page(Store.open(output), paths, output / "page.html", dataset.root, options.limit)


def _report(
    writer: MaskWriter,
    paths: list[Path],
    chosen: list[Path],
    there: int,
    part: Share,
    work: str,
    header: dict[str, Any],
    why: str,
) -> bool:
    """Write the boxes and the index, and say what was done, and why much of it may be empty.

    Returns:
        Whether all parts are there.
    """
    broken = {path for path, _ in writer.skipped}
    boxes = coco_boxes(writer, paths, [path for path in chosen if str(path) not in broken])
    boxed = {annotation["image_id"] for annotation in boxes["annotations"]}
    empty = [image["file_name"] for image in boxes["images"] if image["id"] not in boxed]
    sizes = {image["id"]: image["width"] * image["height"] for image in boxes["images"]}
    names = {image["id"]: image["file_name"] for image in boxes["images"]}
    full = [
        names[annotation["image_id"]]
        for annotation in boxes["annotations"]
        if annotation["area"] == sizes[annotation["image_id"]]
    ]
    publish(writer.output / "boxes.json", part, work, boxes, join_boxes)
    content = writer.index(there) | {"empty": empty, "full": full} | header
    index = publish(writer.output / "index.json", part, work, content, join_indices)
    for path, reason in writer.skipped:
        print(f"skipped {path}: {reason}")
    pace = f" {writer.pace()}" if writer.written else ""
    before = f", {there:,} were there" if there else ""
    print(
        f"{len(writer.written):,} of {len(chosen):,} photographs written to {writer.output}{pace}{before}; "
        f"{count_one_sided(len(empty), len(full))}, {len(writer.skipped):,} unreadable files: "
        f"soft/, binary/, overlay/, boxes{part.suffix}.json, index{part.suffix}.json"
    )
    warn_one_sided(len(empty), len(full), len(boxes["images"]), why)
    if part.count > 1 and index is not None:
        print(f"All {part.count} parts are there: boxes.json and index.json hold them together.")
    return index is not None


def _options(words: Sequence[str]) -> Namespace:
    parser = OptionParser("discover", USAGE)
    add = parser.add_argument
    add("--images", required=True, metavar="PHOTOS", help="folder or text list of photographs")
    add("--output", required=True, metavar="MASKS", help="folder for soft/, binary/, overlay/ and boxes.json")
    add("--method", choices=tuple(METHODS), default="tokencut", help="what finds the object (default tokencut)")
    add("--backbone", default="dino_vits16", help="frozen network, see segtricks weights list (default dino_vits16)")
    add("--backbone_checkpoint", metavar="FILE", help="file with its weights, instead of a download")
    add("--feature", choices=FEATURES, help="what patches are compared by (default: the backbone's own)")
    add("--layer", type=int, help="whose features, from 0, or from the end with -1 (default: the backbone's own)")
    add("--tau", metavar="X|share:X", help="tokencut, lost, deep_spectral: cosine above which two patches are alike, "
        "or the share of all pairs that are (default: the backbone's own)")  # fmt: skip
    add("--k", type=int, default=100, help="lost: patches that may vote (default 100)")
    add("--threshold", metavar="X|share:X", help="found: as --tau, for patches like the background's seed")
    add("--head", metavar="FILE", help="found: a trained head in place of its first step")
    add("--polarity", choices=("none", "image", "border"), default="none", help="turn a mask over if its mean, or its "
        "mean along the border, exceeds 0.5 (default none)")  # fmt: skip
    add("--refine", choices=("none", "guided_filter", "bilateral_solver"), default="none", help="refine the masks")
    add("--bilateral_preset", choices=tuple(BILATERAL_PRESETS), default="two-tricks", help="the solver's cell sizes")
    add("--refine_at", choices=("model", "full"), default="model", help="at the network's or the photograph's size")
    add("--size", type=int, default=320, help="short side in pixels at which the network sees it (default 320)")
    add("--shard", default="1/1", metavar="I/N", help="write only this part of the photographs")
    add("--overwrite", action="store_true", help="make masks again that are there")
    add("--batch_size", type=int, default=8, help="photographs of one size at a time (default 8)")
    add("--num_workers", type=int, help="reading processes (default: the processors that are free)")
    add("--device", default=_device(), help=f"where to compute (default here: {_device()})")
    add_page_options(parser)
    add_cache_options(parser)
    options = parser.parse_args(words)
    _settle(options)
    for name, (lowest, highest, example) in _RANGES.items():
        value = getattr(options, name)
        if value is not None and not lowest <= value <= highest:
            raise UserError(f"--{name} is {value}: it lies in {lowest} to {highest:,}, for example --{name} {example}.")
    try:
        torch.zeros(1, device=options.device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device {options.device!r} cannot be used here ({str(error).splitlines()[0]}).") from error
    return options


def _earlier_weights(output: Path) -> str:
    """Where the weights came from that made the masks that are there."""
    path = output / "index.json"
    return str(json.loads(path.read_text(encoding="utf-8")).get("weights", "")) if path.is_file() else ""


def _settle(options: Namespace) -> None:
    """Put the backbone's own features and thresholds where the user gave none."""
    own = affinity_of(options.backbone, options.method, options.feature, options.layer)
    options.feature, options.layer = own.feature, own.layer
    options.tau = own.tau if options.tau is None else _tau(options.tau)
    options.threshold = own.tau if options.threshold is None else _tau(options.threshold)


def _tau(text: str) -> Tau:
    return text if share_of(text) is not None else float(text)


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
    items = WholeItems(SegmentationDataset("photographs", paths), transform)
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
    """Write the masks of images of one size, and log which of the first are empty."""
    images = to_input(torch.stack([item["image"] for item in items]).to(options.device))
    grids = apply_polarity(discoverer(images), options.polarity)
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
        if not bool((mask > 0.5).any()) and len(writer.empty) <= _NAMED:
            log.warning("%s: empty mask (%s)", item["path"], discoverer.method.why_empty)
