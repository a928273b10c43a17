"""Write predictions: a soft mask, a binary mask and an overlay for every photograph, and their boxes."""

import os
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from lightning.pytorch import Callback
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from segtricks.data.images import UnreadableImage
from segtricks.data.label_entry import encode_mask, entry_names, read_entry, write_entry
from segtricks.data.label_store import FORMAT
from segtricks.errors import UserError
from segtricks.pseudo_labels.mask_files import KINDS, count_one_sided, write_pictures
from segtricks.pseudo_labels.steady import Steady
from segtricks.refine.components import connected_components
from segtricks.words import FORMATS

READ_BY_YOLO = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
THREADS = min(4, os.cpu_count() or 1)
"""That encode and write; no more than twice as many photographs wait for them or are written."""
_ALL_KINDS = (*KINDS, "labels", "panoptic")

Described = tuple[tuple[int, int], list[dict[str, Any]]]
"""Size (H, W) of a photograph, and what its annotations in COCO's form hold."""


class MaskWriter(Callback):
    """Write ``soft/``, ``binary/`` and ``overlay/`` under ``output``, each with the photographs' names and sub-folders.

    Soft masks are 8-bit PNG (0..255), binary ones 0/255 at probability 0.5, overlays JPEG; all at the photograph's own
    size. Of photographs that differ in their suffix alone, the masks keep it (``a.jpg.png``). A photograph counts as
    written once all its pictures and its entry have their names: ``output`` is a store of pseudo-labels.
    Other predictions than a soft mask are written by a subclass.

    Args:
        photos: folder of the photographs.
        output: folder to write to.
        names: all photographs, to find the names that collide, and for the order of the index.
        formats: some of ``FORMATS``. Pictures are left out that none of them needs; entries are always written, and
            :class:`segtricks.pseudo_labels.formats.Exporter` makes the other formats of them.
        class_names: of the class ids, where masks have true classes.
    """

    kinds: ClassVar[tuple[str, ...]] = tuple(KINDS)
    """Of the pictures."""
    formats: ClassVar[tuple[str, ...]] = FORMATS
    """What the predictions can be written as."""
    one_mask: ClassVar[bool] = True
    """Whether a photograph has one mask, whose components are its objects; otherwise each of its masks is an object."""
    classes: ClassVar[bool] = False
    """Whether all objects have classes."""

    def __init__(
        self,
        photos: Path,
        output: Path,
        names: list[Path],
        formats: Sequence[str] = ("masks",),
        class_names: Mapping[int, str] | None = None,
    ) -> None:
        self.photos, self.output, self.class_names = photos, output, class_names or {}
        needed = set(self.kinds) if "masks" in formats else set()
        if "cutout" in formats:
            needed.add("soft")
        self.written_kinds = tuple(kind for kind in self.kinds if kind in needed)
        relative = [self.relative(path) for path in names]
        self._names = entry_names(relative)
        self._places = {str(name): place for place, name in enumerate(relative)}
        self.written: list[str] = []
        self.skipped: list[tuple[str, str]] = []
        self.empty: list[str] = []
        """Photographs whose mask has no foreground."""
        self.full: list[str] = []
        """Photographs whose mask has nothing else."""
        self.steady: Steady | None = None
        """What steadies the masks of a film, whose frames then come in order."""
        self.seconds = 0.0
        """That the last :meth:`at_work` took."""
        self._bar: Any = tqdm(disable=True)
        self._pool: ThreadPoolExecutor | None = None
        self._waiting: deque[tuple[str, Future[None]]] = deque()

    @contextmanager
    def at_work(self, count: int, title: str, bar: bool = True) -> Iterator[None]:
        """Write ``count`` photographs in threads of its own, and show a bar with their number a second.

        At the end all is written, unless the work ends with an error: then what has not started is dropped. An error in
        a thread is raised by a later :meth:`write`, or here.
        """
        started = time.perf_counter()
        self._pool = ThreadPoolExecutor(THREADS, "writer")
        try:
            with tqdm(total=count, desc=title, unit=" images", disable=None if bar else True) as self._bar:
                yield
                self._finish(0)
        finally:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None
            self._waiting.clear()
            self.seconds = time.perf_counter() - started

    def on_predict_batch_end(
        self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Write a batch."""
        for path, reason in batch["skipped"]:
            self.skip(path, reason)
        for mask, photo, path in zip(outputs, batch["photo"], batch["path"], strict=True):
            self.write(mask, photo, Path(path))

    def write(self, mask: Tensor, photo: Tensor, path: Path) -> None:
        """Write the files of one photograph: ``mask`` (1, H, W) probabilities, ``photo`` (3, H, W) uint8.

        Raises:
            UserError: they, or those of an earlier photograph, cannot be written.
        """
        if self.steady is not None:
            mask = self.steady(mask, photo)
        pixels = mask[0].float().cpu().numpy()
        inside = pixels > 0.5
        self.count(path, empty=not inside.any(), full=bool(inside.all()))
        self.submit(pixels, photo, path)

    def count(self, path: Path, empty: bool, full: bool) -> None:
        """Note a photograph of which nothing is foreground, or everything."""
        name = str(self.relative(path))
        if empty:
            self.empty.append(name)
        elif full:
            self.full.append(name)

    def recall(self, paths: Iterable[Path]) -> None:
        """Note those of the photographs written by an earlier call of which nothing is foreground, or everything."""
        for path in paths:
            with suppress(UnreadableImage):
                empty, full = self.one_sided(path)
                self.count(path, empty, full)

    def one_sided(self, path: Path) -> tuple[bool, bool]:
        """Return whether a photograph that was written is empty, and whether full; raises an ``UnreadableImage``."""
        entry = read_entry(self.output, self.name(path))
        areas = entry.areas()
        return not areas, entry.height * entry.width in areas

    def submit(self, prediction: Any, photo: Tensor, path: Path) -> None:
        """Write the files of one photograph now, or in a thread while :meth:`at_work`.

        Raises:
            UserError: they, or those of an earlier photograph, cannot be written.
        """
        name = str(self.relative(path))
        # Arrays: a thread's torch operations would each start threads of their own.
        picture = photo.permute(1, 2, 0).numpy()
        if self._pool is None:
            self._write(prediction, picture, path)
            self._note(name)
            return
        self._waiting.append((name, self._pool.submit(self._write, prediction, picture, path)))
        self._finish(2 * THREADS - 1)

    def skip(self, path: str, reason: str) -> None:
        """Note a photograph that cannot be read."""
        self.skipped.append((path, reason))
        self._bar.update()

    def discard(self, paths: Iterable[Path]) -> None:
        """Remove the pictures of photographs that will be made again, so that none of another origin stays behind.

        Also those that another method has written.
        """
        for path in paths:
            exported = [*self.exported(path).values(), self.yolo_image(path)]
            for file in (*self._files(path, _ALL_KINDS), *exported):
                file.unlink(missing_ok=True)

    def file(self, path: Path, kind: str) -> Path:
        """Return where a photograph's ``soft``, ``binary`` or ``overlay`` picture goes."""
        return self.output / kind / f"{self.name(path)}.{'jpg' if kind == 'overlay' else 'png'}"

    def exists(self, path: Path) -> bool:
        """Whether all pictures of a photograph and its entry are there."""
        return all(file.is_file() for file in self._files(path, self.written_kinds))

    def exported(self, path: Path) -> dict[str, Path]:
        """Return where a photograph's own file of each of the other formats goes."""
        name = self.name(path)
        # Ultralytics looks for the labels of a/images/b/images/c.jpg at a/images/b/labels/c.txt.
        before, _, after = f"yolo/images/{name}.txt".rpartition("/images/")
        return {
            "yolo": self.output / before / "labels" / after,
            "labelme": self.output / "labelme" / f"{name}.json",
            "cutout": self.output / "cutout" / f"{name}.png",
        }

    def yolo_image(self, path: Path) -> Path:
        """Return where the copy of a photograph goes next to which Ultralytics looks for its labels."""
        suffix = path.suffix.lower()
        return self.output / "yolo" / "images" / f"{self.name(path)}{suffix if suffix in READ_BY_YOLO else '.png'}"

    def index(self, already_there: int) -> dict[str, Any]:
        """Return the content of ``index.json``: what was written, what was skipped, and how many were there before.

        ``empty`` and ``full`` name the photographs whose mask has no foreground or nothing else, and ``masks`` counts
        all others, those that were there included: see :meth:`recall`.
        All lists are in the order of the photographs.
        """
        skipped = sorted(self.skipped, key=lambda entry: self._place(str(self.relative(Path(entry[0])))))
        return {
            "format": FORMAT,
            "images": len(self.written),
            "masks": len(self.written) + already_there - len(self.empty),
            "written": sorted(self.written, key=self._place),
            "already_there": already_there,
            "empty": sorted(self.empty, key=self._place),
            "full": sorted(self.full, key=self._place),
            "skipped": [{"path": path, "reason": reason} for path, reason in skipped],
        }

    def pace(self) -> str:
        """Return what :meth:`at_work` took, such as ``in 31 s, 12.9 images/s``."""
        return f"in {self.seconds:,.0f} s, {len(self.written) / max(self.seconds, 1e-9):,.1f} images/s"

    def relative(self, path: Path) -> Path:
        """Return a photograph's path below the folder of photographs."""
        return path.relative_to(self.photos) if path.is_relative_to(self.photos) else Path(path.name)

    def name(self, path: Path) -> str:
        """Return the name of a photograph's entry."""
        relative = self.relative(path)
        return self._names.get(relative, relative.with_suffix("").as_posix())

    def _files(self, path: Path, kinds: Iterable[str]) -> list[Path]:
        pictures = [self.file(path, kind) for kind in kinds]
        return [*pictures, self.output / "entries" / f"{self.name(path)}.json"]

    def _finish(self, most: int) -> None:
        """Wait until at most so many photographs are under way; the error of one is raised here."""
        while len(self._waiting) > most:
            name, written = self._waiting.popleft()
            written.result()
            self._note(name)

    def _note(self, name: str) -> None:
        self.written.append(name)
        self._bar.update()

    def _place(self, name: str) -> int:
        return self._places.get(name, len(self._places))

    def _write(self, prediction: Any, photo: NDArray[np.uint8], path: Path) -> None:
        with self.explained(path):
            self.write_files(prediction, photo, path)

    @contextmanager
    def explained(self, path: Path) -> Iterator[None]:
        """Raise a ``UserError`` where the files of a photograph cannot be written."""
        try:
            yield
        except OSError as error:
            raise UserError(
                f"The masks of {path} could not be written to {self.output} ({error.strerror or error}).\n"
                "Next: correct that and type the same command again; what was written before stays."
            ) from error

    def write_files(self, prediction: Any, photo: NDArray[np.uint8], path: Path) -> None:
        """Write the pictures of one photograph (H, W, 3), and then its entry; here of a soft mask (H, W)."""
        inside = write_pictures(prediction, photo, {kind: self.file(path, kind) for kind in self.written_kinds})
        masks = [encode_mask(inside)] if inside.any() else []
        write_entry(self.output, self.name(path), self.relative(path).as_posix(), inside.shape, masks)

    def coco(self, photos: Sequence[Path], chosen: Sequence[Path]) -> dict[str, Any]:
        """Return ``images``, ``annotations`` and ``categories`` of the ``chosen`` among all ``photos``.

        Photographs without their files are left out.
        """
        bar = tqdm(chosen, desc="boxes", unit=" images", disable=None, leave=False, delay=2)
        return self.coco_of(photos, ((path, self._objects_or_none(path)) for path in bar))

    def coco_of(self, photos: Sequence[Path], described: Iterable[tuple[Path, Described | None]]) -> dict[str, Any]:
        """Return ``images``, ``annotations`` and ``categories`` in COCO's form.

        Image ids are 1 + the place among all photographs, the same in every shard.

        Args:
            photos: all photographs.
            described: some of them with their size and what their annotations hold; None leaves one out.
        """
        ids = {path: number for number, path in enumerate(photos, start=1)}
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        classes: set[int | None] = set()
        for path, found in described:
            if found is None:
                continue
            (height, width), objects = found
            name = str(self.relative(path))
            images.append({"id": ids[path], "file_name": name, "width": width, "height": height})
            for item in objects:
                own = {"id": len(annotations) + 1, "image_id": ids[path], "category_id": 1}
                annotations.append(own | item | {"iscrowd": 0})
                classes.add(item.get("category_id"))
        names = {number: self.class_name(number) for number in {*classes, *self.class_names} if number is not None}
        if not self.classes and (None in classes or not names):
            names[1] = self.class_name(None)
        categories = [{"id": number, "name": names[number]} for number in sorted(names)]
        return {"images": images, "annotations": annotations, "categories": categories}

    def class_name(self, number: int | None) -> str:
        """Return what a class is called; None is that of objects without one."""
        return "object" if number is None else self.class_names.get(number, str(number))

    def _objects_or_none(self, path: Path) -> Described | None:
        try:
            return self.objects(path)
        except UnreadableImage:
            return None

    def objects(self, path: Path) -> Described:
        """Return the size of a photograph that was written, and what its annotations hold.

        That is ``bbox`` x, y, width and height in pixels, and ``area``, of the largest 4-connected component of its
        mask.
        """
        entry = read_entry(self.output, self.name(path))
        if not entry.masks:
            return (entry.height, entry.width), []
        components = connected_components(entry.array(0))
        largest = int(components.area.argmax())
        left, top, right, bottom = components.boxes[largest].tolist()
        box = [left, top, right - left, bottom - top]
        return (entry.height, entry.width), [{"bbox": box, "area": int(components.area[largest])}]

    def counts(self, boxes: dict[str, Any]) -> dict[str, Any]:
        """Return what ``index.json`` says of all photographs in :meth:`coco`, those written before included."""
        areas = {annotation["image_id"]: annotation["area"] for annotation in boxes["annotations"]}
        sizes = {image["id"]: image["width"] * image["height"] for image in boxes["images"]}
        empty = [image["file_name"] for image in boxes["images"] if image["id"] not in areas]
        full = [image["file_name"] for image in boxes["images"] if areas.get(image["id"]) == sizes[image["id"]]]
        return {"empty": empty, "full": full}

    def summary(self, index: dict[str, Any]) -> str:
        """Return the counts of ``index.json`` in words."""
        return count_one_sided(len(index["empty"]), len(index["full"]))
