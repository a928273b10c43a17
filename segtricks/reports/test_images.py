"""Callbacks that show images while a model is validated or tested, as files and on the run's loggers."""

import io
import shutil
import tempfile
from bisect import insort
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback
from lightning.pytorch.loggers import WandbLogger
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import to_pil_image

from segtricks.data.transforms import denormalize
from segtricks.reports.figures import Panel, bins_figure, outlined, panel_figure, save_figure
from segtricks.reports.media import log_figure, log_images, log_panels, log_scores
from segtricks.reports.names import key, set_keys
from segtricks.runs import file_name, write_json
from segtricks.training.loggers import of_kind

_NEAR_MEDIAN = 100


@dataclass
class TestImage:
    """One image of a test set.

    Args:
        dataset: name of the test set.
        number: of the image in its test set, from 0 (of this process).
        place: of the image in its batch.
        path: of the photograph.
        photo: (3, H, W) uint8.
        masks: by row, (1, H, W) probabilities.
        target: (1, H, W) uint8 in 0..255, if there is one.
        boxes: (n, 4) in pixels, if there are any.
    """

    dataset: str
    number: int
    place: int
    path: str
    photo: Tensor
    masks: dict[str, Tensor]
    target: Tensor | None
    boxes: NDArray[Any] | None

    def photograph(self) -> Tensor:
        """Return the photograph with the boxes drawn onto it."""
        return self.photo if self.boxes is None else outlined(self.photo, self.boxes)

    def thumbnails(self, side: int) -> dict[str, bytes]:
        """Return photograph, masks and target as small JPEG files by title."""
        pictures = {"photograph": self.photograph(), **self.masks}
        if self.target is not None:
            pictures["target"] = self.target
        return {title: small_jpeg(picture, side) for title, picture in pictures.items()}


class TestImages(Callback):
    """Hand each image of a test to :meth:`take`, and call :meth:`write` at the end; in the first process alone.

    Args:
        run: the run folder.
    """

    kept: dict[str, Any]
    """What is kept of each test set, by its name."""

    def __init__(self, run: Path) -> None:
        self.run, self.kept = run, {}
        self._seen: Counter[str] = Counter()

    def take(self, image: TestImage, trainer: Any, module: Any) -> None:
        """Keep what is needed of an image."""
        raise NotImplementedError

    def write(self, trainer: Any, module: Any) -> None:
        """Write what was kept."""
        raise NotImplementedError

    def on_test_batch_end(
        self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Take the batch's images, whose masks are ``outputs``, lists by row."""
        if not trainer.is_global_zero:
            return
        name = trainer.datamodule.test_names[dataloader_idx]
        for i, path in enumerate(batch["path"]):
            image = TestImage(
                dataset=name,
                number=self._seen[name],
                place=i,
                path=path,
                photo=batch["photo"][i],
                masks={row: masks[i] for row, masks in outputs.items()},
                target=batch["mask"][i] if "mask" in batch else None,
                boxes=batch["boxes"][i] if "boxes" in batch else None,
            )
            self._seen[name] += 1
            self.take(image, trainer, module)

    def on_test_end(self, trainer: Any, module: Any) -> None:
        """Write, and forget this test."""
        if trainer.is_global_zero:
            self.write(trainer, module)
        self.kept = {}
        self._seen.clear()


class TestPanels(TestImages):
    """Write ``figures/test-DATASET.png``: image, mask, refined mask and target of the first images of each test set.

    Where the model was tested before training too, its plain masks of that time get a column: image, before, after,
    after + guided filter, target.

    Args:
        run: the run folder.
        count: images shown.
    """

    def __init__(self, run: Path, count: int) -> None:
        super().__init__(run)
        self.count = count
        self._before: dict[tuple[str, str], Tensor] = {}

    def take(self, image: TestImage, trainer: Any, module: Any) -> None:
        """Keep the first images of each set."""
        panels = self.kept.setdefault(image.dataset, [])
        if len(panels) >= self.count:
            return
        masks = {row: mask.cpu() for row, mask in image.masks.items()}
        place = image.dataset, image.path
        if section(trainer, module) == "before":
            self._before[place] = next(iter(masks.values()))
        elif place in self._before:
            after = {row.replace("mask", "after", 1): mask for row, mask in masks.items()}
            masks = {"before": self._before.pop(place), **after}
        if image.target is not None:
            masks["target"] = image.target.cpu() / 255
        panels.append(Panel(Path(image.path).name, image.photograph(), masks))

    def write(self, trainer: Any, module: Any) -> None:
        """Write the pictures."""
        keys = set_keys(trainer.datamodule.test_names)
        for name, panels in self.kept.items():
            if panels:  # there are none with --panels 0
                figure = panel_figure(panels)
                save_figure(figure, self.run / "figures" / f"test-{file_name(name)}.png")
                log_panels(trainer, f"{section(trainer, module)}/{keys[name]}/masks", panels, figure)


@dataclass
class Example:
    """One scored image: its path, the IoU of the mask that the model predicts, and JPEG files by title."""

    path: str
    iou: float
    pictures: dict[str, bytes] = field(default_factory=dict)


class TestExamples(TestImages):
    """After a test, write ``test/RESULT-examples/``: small pictures and ``index.json``, for ``segtricks report``.

    Photograph, masks and target of the images with the highest, the middle and the lowest IoU, those of the first
    process where there are several. Memory does not grow with the test set: of what is neither best nor worst, the
    images nearest to the median so far are kept.

    Args:
        run: the run folder.
        count: images of each kind.
    """

    def __init__(self, run: Path, count: int = 3) -> None:
        super().__init__(run)
        self.count = count
        self._ious: dict[str, list[float]] = {}

    def take(self, image: TestImage, trainer: Any, module: Any) -> None:
        """Keep the image if it is among the best, the worst or those near the median so far."""
        if image.target is None:
            return
        row = list(image.masks)[1 if module.refine_predictions else 0]  # plain, filtered, perhaps solved
        iou = module.batch_scores[row][image.place].iou
        if iou != iou:  # both empty
            return
        insort(self._ious.setdefault(image.dataset, []), iou)
        example = Example(image.path, iou)
        kept = self._chosen(image.dataset, [*self.kept.get(image.dataset, []), example], _NEAR_MEDIAN)
        self.kept[image.dataset] = [each for each, _ in kept]
        if any(each is example for each in self.kept[image.dataset]):
            # Drawing takes longer than scoring: no image is drawn that is not kept.
            example.pictures = image.thumbnails(320)

    def write(self, trainer: Any, module: Any) -> None:
        """Write the pictures."""
        for name, kept in self.kept.items():
            folder = self.run / "test" / f"{result_stem(name, module)}-examples"
            write_examples(folder, self._chosen(name, kept, self.count))
        self._ious = {}

    def _chosen(self, name: str, kept: Sequence[Example], middle: int) -> list[tuple[Example, str]]:
        """With their group: the ``count`` best, ``middle`` images nearest to the median, the ``count`` worst."""
        order = sorted(kept, key=lambda example: (-example.iou, example.path))
        count = min(self.count, len(order) // 3) if len(order) >= 3 else len(order)
        ious = self._ious[name]
        median = (ious[(len(ious) - 1) // 2] + ious[len(ious) // 2]) / 2
        best, rest, worst = order[:count], order[count : len(order) - count], order[max(count, len(order) - count) :]
        near = sorted(rest, key=lambda example: abs(example.iou - median))[:middle]
        near.sort(key=lambda example: -example.iou)
        groups = {"best": best, "median": near, "worst": worst}
        return [(example, group) for group, examples in groups.items() for example in examples]


class TestDashboard(TestImages):
    """After a test, write ``figures/test-DATASET-iou-by-size.png`` and log what the files under ``test/`` hold.

    Keys begin with ``test/DATASET/``, or ``before/DATASET/`` for a model that has yet to be trained: every figure of
    every row as a scalar, ``iou_by_size``, and, for W&B alone, the table ``images``: name, object size, each row's
    IoU (``corloc`` of a set with boxes), and thumbnails of photograph, masks and target. The table holds every image of
    a set of at most ``limit``, evenly chosen ones of a larger set (of the first process where there are several), so
    that its memory is bounded by some 20 KB times ``limit`` a set; ``test/DATASET-per-image.csv`` holds all of them.

    Args:
        run: the run folder.
        limit: rows of a table of images.
    """

    def __init__(self, run: Path, limit: int = 200) -> None:
        super().__init__(run)
        self.limit = limit

    def take(self, image: TestImage, trainer: Any, module: Any) -> None:
        """Draw the thumbnails of the chosen images."""
        if not of_kind(trainer, WandbLogger) or section(trainer, module) == "before":
            return
        total = -(-trainer.datamodule.counts[image.dataset] // trainer.world_size)
        if is_chosen(image.number, total, self.limit):
            self.kept.setdefault(image.dataset, {})[image.path] = image.thumbnails(160)

    def write(self, trainer: Any, module: Any) -> None:
        """Write the figure and log everything."""
        scores = [score for each in module.evaluations for score in each.rows.values()]
        if not scores:
            return
        first, names = section(trainer, module), trainer.datamodule.test_names
        keys = set_keys(names)
        flat = {
            f"{first}/{keys[entry.dataset]}/{key(entry.row)}/{metric}": value
            for entry in scores
            for metric, value in entry.metrics.items()
        }
        log_scores(trainer, first, flat, score_table(scores, module.protocol.name))
        if first == "before":
            return
        for name in names:
            entries = {entry.row: entry for entry in scores if entry.dataset == name}
            bins = {row: entry.size_bins for row, entry in entries.items() if entry.per_image}
            figure = bins_figure(bins)
            if figure is not None:
                save_figure(figure, self.run / "figures" / f"test-{result_stem(name, module)}-iou-by-size.png")
                log_figure(trainer, f"{first}/{keys[name]}/iou_by_size", figure)
            if name in self.kept:
                log_images(trainer, f"{first}/{keys[name]}/images", image_table(entries, self.kept[name]))


class ValidationPanels(Callback):
    """After each validation, write ``figures/validation.png`` (and one per epoch under ``figures/epochs``).

    Args:
        run: the run folder.
        count: images shown.
    """

    def __init__(self, run: Path, count: int) -> None:
        self.figures, self.count = run / "figures", count
        self._panels: list[Panel] = []

    def on_validation_batch_end(
        self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Keep the first images of the held-out set."""
        if not isinstance(outputs, Tensor):
            return
        images = denormalize(batch["image"])
        refined = module.refiner(outputs, images)
        for i in range(min(self.count - len(self._panels), len(outputs))):
            masks = {"soft mask": outputs[i].detach().cpu(), "guided filter": refined[i].detach().clamp(0, 1).cpu()}
            if "mask" in batch and not batch["mask"][i].isnan().any():
                masks["target"] = batch["mask"][i].cpu()
            self._panels.append(Panel(Path(batch["path"][i]).name, images[i].cpu(), masks))

    def on_validation_epoch_end(self, trainer: Any, module: Any) -> None:
        """Write the picture."""
        if self._panels and trainer.is_global_zero and not trainer.sanity_checking:
            figure = panel_figure(self._panels)
            save_figure(figure, self.figures / "validation.png")
            save_figure(figure, self.figures / "epochs" / f"validation-{trainer.current_epoch:03d}.png", dpi=80)
            log_panels(trainer, "val/masks", self._panels, figure)
        self._panels = []


def section(trainer: Any, module: Any) -> str:
    """Return the first part of a test's keys: ``before`` for a model that has yet to be trained, else ``test``."""
    return "before" if module.needs_checkpoint and trainer.ckpt_path is None else "test"


def result_stem(dataset: str, module: Any) -> str:
    """Return the name of a test's files: the data set, and the protocol where it is not ``fullres``."""
    protocol = module.protocol.name
    return file_name(dataset) if protocol == "fullres" else f"{file_name(dataset)}-{file_name(protocol)}"


def is_chosen(place: int, total: int, limit: int) -> bool:
    """Tell whether the image at ``place`` is one of ``limit`` evenly chosen of ``total``."""
    return total <= limit or (place * limit) // total != ((place - 1) * limit) // total


def score_table(scores: Sequence[Any], protocol: str) -> list[dict[str, Any]]:
    """Return rows of the table ``scores``: test set, protocol, mask, images and every metric that any row has."""
    metrics = list(dict.fromkeys(metric for entry in scores for metric in entry.metrics))
    rows = []
    for entry in scores:
        row = {"test set": Path(entry.dataset).name, "protocol": protocol, "mask": entry.row, "images": entry.images}
        rows.append(row | {metric: entry.metrics.get(metric) for metric in metrics})
    return rows


def image_table(
    scores: Mapping[str, Any], thumbnails: Mapping[str, Mapping[str, bytes]]
) -> list[dict[str, float | str | bytes | None]]:
    """Return rows for :func:`log_images`; of a path its last part is shown.

    Args:
        scores: a ``Score`` by row name.
        thumbnails: JPEG files by title, by the path of the image.
    """
    rows = []
    for path, pictures in thumbnails.items():
        line: dict[str, float | str | bytes | None] = {"image": Path(path).name}
        for row, entry in scores.items():
            if path in entry.per_image:
                iou = entry.per_image[path].iou
                line["size"] = float(entry.per_image[path].size)
                line[f"iou {row}"] = None if iou != iou else iou
            if path in entry.hits:
                line[f"corloc {row}"] = float(entry.hits[path])
        rows.append({**line, **pictures})
    return rows


def small_jpeg(picture: Tensor, side: int = 320) -> bytes:
    """Return a picture (C, H, W), uint8 or in [0, 1], as JPEG of at most ``side`` pixels a side."""
    picture = picture.detach().cpu()
    if picture.is_floating_point():
        picture = (picture.float().clamp(0, 1) * 255).round().byte()
    image = to_pil_image(picture)
    image.thumbnail((side, side), Image.Resampling.BOX)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=80)
    return file.getvalue()


def write_examples(folder: Path, examples: Sequence[tuple[Example, str]]) -> None:
    """Write pictures and ``index.json`` into a folder that replaces the one before."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".examples-"))
    entries = []
    for number, (example, group) in enumerate(examples):
        files = {title: f"{number:02d}-{file_name(title)}.jpg" for title in example.pictures}
        for title, name in files.items():
            (fresh / name).write_bytes(example.pictures[title])
        entries.append({"image": example.path, "group": group, "iou": example.iou, "pictures": files})
    write_json(fresh / "index.json", {"examples": entries})
    fresh.chmod(0o755)
    shutil.rmtree(folder, ignore_errors=True)
    fresh.replace(folder)
