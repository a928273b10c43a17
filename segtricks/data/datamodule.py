"""The LightningDataModule: photographs to train on, sets to test on, a folder to predict."""

import re
import warnings
from collections import Counter
from functools import cached_property, partial
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Protocol

import lightning
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from segtricks.data.datasets.registry import DATASET_NAMES, open_dataset
from segtricks.data.loading import (
    CropItems,
    TrainItems,
    WholeItems,
    collate_lists,
    collate_stacked,
    finished,
    make_loader,
)
from segtricks.data.sample import SegmentationDataset, TargetKind
from segtricks.data.sampler import EpochPlace, EpochSampler, ResumableLoader, ShareBatches, ShareSampler, process_rank
from segtricks.data.store import ImageCache
from segtricks.data.targets import WithTargets
from segtricks.data.transforms import (
    CenterCropTransform,
    Placement,
    ScaledTo,
    TrainTransform,
    fit_short_side,
    to_input,
)
from segtricks.errors import UserError, path_hint
from segtricks.parallel import processors
from segtricks.words import Orientation

TEST_SETS = ["duts-te", "dut-omron", "ecssd"]
DETECTION_SETS = ["voc07", "voc12", "coco20k"]
JITTER = [0.4, 0.4, 0.2, 0.1]
BLUR_SIGMA = [0.1, 2.0]


class RunData(Protocol):
    """What the commands, the methods and the reports use of a data module, besides its loaders."""

    test: list[str]
    """Test sets as given; empty to test on none."""
    root: str
    masks: str | None
    hard: bool
    size: int
    multiple: int
    eval_batch_size: int
    num_workers: int

    @property
    def test_datasets(self) -> list[SegmentationDataset]:
        """Test sets in the order of ``test``."""

    @property
    def test_names(self) -> list[str]:
        """A short name for each test set."""

    @property
    def counts(self) -> dict[str, int]:
        """Images of the open datasets: ``train``, ``held_out`` and each test set's name."""

    def ask_for_targets(self, kind: TargetKind) -> None:
        """Let training and validation batches have targets."""

    def fit_patches(self, patch: int) -> None:
        """Make all image sides multiples of the backbone's patch, or raise a ``UserError``."""

    def crop_tests(self, resize: int, size: int, batch_size: int) -> None:
        """Test on the middle of each image, for a protocol with a crop."""

    def check(self) -> None:
        """Open every dataset before a long fit, or raise a ``UserError``."""

    def describe(self) -> str:
        """One line: how many images of what."""

    def sample_images(self, count: int) -> Tensor:
        """Up to ``count`` training photographs (n, 3, size, size), normalised."""


def whole_size(data: RunData) -> int:
    """Short side in pixels at which test and prediction see whole images: ``test_size``, or else ``size``."""
    return getattr(data, "test_size", None) or data.size


class SaliencyDataModule(lightning.LightningDataModule):
    """Data of one run.

    A dataset is a registered name (``duts-tr``, ``duts-te``, ``dut-omron``, ``ecssd``, ``voc07``, ``voc12``,
    ``coco20k``, ``synthetic``) or the path of a folder or text list of photographs, then perhaps a part of its sorted
    files: ``ecssd[:320]``, ``photos[100:200]``. Or ``package.module:Name``, a :class:`SegmentationDataset` of your own
    (or a function that returns one), called without arguments; in Python ``train`` may be such an object.

    Training batches: ``image`` float (B, 3, size, size) normalised, ``path`` list of B names, ``skipped`` list of
    ``(path, reason)`` of files that could not be read; B may be 0. ``target`` only where a method has asked for it
    (:meth:`ask_for_targets`). Validation batches: the same from the middle of the held-out training images, and
    ``mask`` float (B, 1, size, size) of 0 and 1 for pictures. Test batches, lists of B: ``image`` float
    (3, h, w) normalised; ``photo`` uint8 (3, H, W) and ``mask`` uint8 (1, H, W), or ``labels`` int64 (1, H, W), at
    their own size; ``boxes`` arrays (n, 4), half-open pixels; ``path``; ``skipped``. Prediction: the same without
    targets and ``boxes``. Loaders give
    uint8 images; :meth:`on_after_batch_transfer` finishes them on the model's device.

    Order and augmentation are functions of ``(seed, epoch)`` and ``(seed, epoch, image)``: the number of workers does
    not matter, and a run resumed from a checkpoint, also within an epoch, sees what it would have seen.

    Args:
        train: Training set.
        test: Test sets, or a single one.
        root: Folder above the registered datasets' folders.
        size: Side of the training crop, and short side of whole images, in pixels.
        resize: Short side before a crop; null is 335 for 320, in proportion for other sizes.
        batch_size: Training images in a batch of one process.
        eval_batch_size: Images in a batch of validation, test and prediction.
        multiple: Sides of whole images are rounded to multiples of this: the patch size of the backbone, or several.
        held_out: Training images kept for validation without labels: a number, or a share below 1 (at least one image).
            The same ones for every ``seed``.
        train_limit: Use only so many images of the training set, drawn once for all, held-out ones included.
        test_limit: Use only the first so many images of each test set.
        num_workers: Reading processes; null is 4, or the number of processors where that is less.
        seed: Of order and augmentation.
        flip: Probability of a horizontal flip.
        jitter: Strengths of brightness, contrast, saturation and hue.
        jitter_p: Probability that colours are jittered.
        grayscale_p: Probability that colours are dropped.
        scale_range: Lowest and highest factor by which a photograph, once at ``resize``, is scaled; null scales none.
        scaled_to: It is then squeezed to the ``square`` as a whole, or cut to a random ``crop``, on its mean colour
            where it is too small (:class:`segtricks.data.TrainTransform`).
        blur_p: Probability of a Gaussian blur.
        blur_sigma: Lowest and highest standard deviation of the blur in pixels.
        colors_on: Where colours are adjusted: on the device that trains, or in the workers; the numbers are the same.
        cache: Keep the training photographs on disk at the size ``resize``, so that they are decoded only once: about
            470 KB for each at 335 pixels, 5 GB for DUTS-TR. Worth it where reading is what training waits for.
        cache_dir: Folder of that cache; null is segtricks/images in ``$XDG_CACHE_HOME`` or ``~/.cache``. Any number of
            runs may share it.
        masks: Folder of masks, or a COCO JSON file, for a folder or list of photographs in ``test``. For a method that
            trains on pseudo-labels, those of ``train``: then also the output of ``segtricks predict`` or ``discover``.
        boxes: Folder of VOC XML files, or a COCO JSON file, for a folder or list of photographs in ``test``.
        hard: Keep VOC's difficult and truncated objects in ``test``.
        center_crop: Test on the middle of each image and mask (``resize``, then ``size``), as the ``two-tricks``
            protocol does; an attribute of the same name may be set until the test starts.
        predict_images: Folder of photographs to predict.
        foreground: Values of ``masks`` that are foreground, where they hold classes; all others are background.
        ignore: Values of ``masks`` whose pixels are not scored, such as a border of 255.
        orientation: What masks and boxes were drawn on: photographs turned upright as their EXIF orientation says
            (``exif``), or their pixels as they are stored (``raw``).
        placement: Where a photograph scaled down for a random ``crop`` lies in it: at ``random``, or in the ``corner``
            at the top left, top right after a flip.
        keep_aspect: Train on photographs in their proportions; false squeezes them to squares, as SelfMask does.
        mapping: Set whose truth decides, in ``test``, which class a cluster stands for, in place of that of the test
            set; for methods that find clusters without labels.
        test_size: Short side of whole images in test and prediction; null is ``size``.
    """

    def __init__(
        self,
        train: str = "duts-tr",
        test: list[str] | str = TEST_SETS,
        root: str = "data",
        size: int = 320,
        resize: int | None = None,
        batch_size: int = 8,
        eval_batch_size: int = 8,
        multiple: int = 8,
        held_out: int | float = 0.02,
        train_limit: int | None = None,
        test_limit: int | None = None,
        num_workers: int | None = None,
        seed: int = 0,
        flip: float = 0.5,
        jitter: list[float] = JITTER,
        jitter_p: float = 0.8,
        grayscale_p: float = 0.2,
        scale_range: list[float] | None = None,
        scaled_to: ScaledTo = "square",
        blur_p: float = 0.0,
        blur_sigma: list[float] = BLUR_SIGMA,
        colors_on: Literal["device", "workers"] = "device",
        cache: bool = False,
        cache_dir: str | None = None,
        masks: str | None = None,
        boxes: str | None = None,
        hard: bool = True,
        center_crop: bool = False,
        predict_images: str | None = None,
        placement: Placement = "random",
        keep_aspect: bool = True,
        foreground: list[int] | int | None = None,
        ignore: list[int] | int | None = None,
        orientation: Orientation = "exif",
        mapping: str | None = None,
        test_size: int | None = None,
    ) -> None:
        super().__init__()
        self.targets: TargetKind | None = None
        self.mapping = mapping
        self._mapping: SegmentationDataset | None = None
        self._tests_as: TargetKind | None = None
        self._splits: tuple[SegmentationDataset, SegmentationDataset] | None = None
        self._tests: list[SegmentationDataset] | None = None
        self._own_train: Any = None if isinstance(train, str) else train
        self.train = train if self._own_train is None else str(self._own_train.name)
        self.test = [test] if isinstance(test, str) else list(test)
        self.root = root
        self.size = size
        self.test_size = test_size if test_size is None else _at_least(1, "test_size", test_size)
        self.batch_size = _at_least(1, "batch_size", batch_size)
        self.eval_batch_size = _at_least(1, "eval_batch_size", eval_batch_size)
        self.multiple = _at_least(1, "multiple", multiple)
        self.held_out = held_out
        self.train_limit = train_limit if train_limit is None else _at_least(1, "train_limit", train_limit)
        self.test_limit = test_limit if test_limit is None else _at_least(1, "test_limit", test_limit)
        self.num_workers = processors() if num_workers is None else _at_least(0, "num_workers", num_workers)
        self.seed = _at_least(0, "seed", seed)
        if colors_on not in ("device", "workers"):
            raise UserError(f"colors_on is {colors_on!r}: pass device or workers, for example --data.colors_on device.")
        self.colors_on = colors_on
        self.cache = cache
        self.cache_dir = cache_dir
        self.masks = masks
        self.boxes = boxes
        self.hard = hard
        self.center_crop = center_crop
        self.predict_images = predict_images
        self.foreground = _listed(foreground)
        self.ignore = _listed(ignore)
        if orientation not in ("exif", "raw"):
            raise UserError(f"orientation is {orientation!r}: pass exif or raw, for example --data.orientation raw.")
        self.orientation = orientation
        self._augment = TrainTransform(
            *(size, resize, flip, jitter, jitter_p, grayscale_p, scale_range, scaled_to, blur_p, blur_sigma, placement),
            keep_aspect,
        )
        self._crop = self._test_crop = CenterCropTransform(size, resize)
        self._place = EpochPlace()

    def ask_for_targets(self, kind: TargetKind) -> None:
        """Let training and validation batches have ``target``, from ``masks``; for a method to call before ``setup``.

        Of kind mask they are float (B, 1, size, size) of 0 and 1, and ``empty`` counts the photographs left out because
        theirs has no foreground; of kind labels int64 (B, size, size), 255 outside of the photograph; of kind instances
        a list of B :class:`segtricks.data.sample.Instances`, of kind panoptic one of
        :class:`segtricks.data.sample.Panoptic`. Photographs whose target cannot be read, or has other
        proportions, are ``skipped``.
        """
        self.targets = kind
        self._splits = None

    def fit_patches(self, patch: int) -> None:
        """Make sides of whole images multiples of the backbone's patch; a ``UserError`` where ``size`` is not one."""
        for name, size in (("size", self.size), ("test_size", whole_size(self))):
            if size % patch:
                nearest = max(1, round(size / patch)) * patch
                raise UserError(
                    f"data.{name} {size} is not a multiple of {patch}, the backbone's patch: "
                    f"pass --data.{name} {nearest}."
                )
        if self.multiple % patch:
            self.multiple = patch

    def crop_tests(self, resize: int, size: int, batch_size: int) -> None:
        """Test on the middle of each image and mask, cut for a protocol, in batches of its size."""
        self.center_crop, self.eval_batch_size = True, batch_size
        self._test_crop = CenterCropTransform(size, resize)

    def read_tests_as(self, kind: TargetKind) -> None:
        """Test on targets of this kind, or on label maps where a set has named classes and no such targets.

        Raises:
            UserError: a test set has neither.
        """
        self._tests_as = kind
        self._tests = [self._read_as(dataset) for dataset in self.test_datasets]

    def _read_as(self, dataset: SegmentationDataset) -> SegmentationDataset:
        if self._tests_as is None:
            return dataset
        labelled = self._tests_as not in dataset.target_kinds and dataset.classes
        try:
            return dataset.with_targets("labels" if labelled else self._tests_as)
        except UserError as error:
            raise UserError(f"{error}\nNext: pass another file or folder of targets as --data.masks.") from error

    def mapping_dataloader(self) -> DataLoader[Any] | None:
        """The photographs of ``mapping`` with their truth, in batches as those of ``test``; None where it is null."""
        return None if self._mapping is None else self._whole(self._mapping, crop=None)

    def _open_mapping(self, spec: str) -> SegmentationDataset:
        """The set of ``mapping``; a ``UserError`` where a test set has other classes, or the same images."""
        dataset = self._read_as(self._open_test(spec))
        images = set(dataset.images)
        for name, test in zip(self.test_names, self.test_datasets, strict=True):
            wrong = ""
            if (dataset.target_kind, dataset.classes) != (test.target_kind, test.classes):
                wrong = f"{spec} does not have the classes of {name}, to find those of clusters."
            elif shared := len(images.intersection(test.images)):
                wrong = f"{shared:,} of the {len(images):,} images of {spec} are also scored, in {name}."
            if wrong:
                raise UserError(f"{wrong}\nNext: pass training images of the same data set as --data.mapping.")
        return dataset

    @property
    def train_dataset(self) -> SegmentationDataset:
        """Training photographs, without the held-out ones."""
        return self._split()[0]

    @property
    def held_out_dataset(self) -> SegmentationDataset:
        """Training photographs kept for validation."""
        return self._split()[1]

    @property
    def test_datasets(self) -> list[SegmentationDataset]:
        """Test sets in the order of ``test``, each with masks, boxes or both."""
        if self._tests is None:
            opened = [self._open_test(spec) for spec in self.test]
            self._tests = [dataset.select(range(len(dataset))[: self.test_limit]) for dataset in opened]
        return self._tests

    def _open_test(self, spec: str) -> SegmentationDataset:
        if own := own_dataset(spec):
            if own.masks is None and own.annotations is None:
                raise UserError(f"The test set {spec} has neither masks nor annotations to compare with.")
            return own
        if self.targets is None:
            return self._open(spec, masks=self.masks, boxes=self.boxes, hard=self.hard)
        # Pseudo-labels of the training set are not the truth of a test set.
        has_truth = spec.split("[")[0] in DATASET_NAMES
        dataset = self._open(spec, boxes=self.boxes, hard=self.hard, require_masks=has_truth)
        if dataset.masks is None and dataset.annotations is None:
            raise UserError(
                f"The test set {spec} has no masks of its own, and --data.masks holds pseudo-labels to train on.\n"
                "Next: fit with --test none, then segtricks test --run runs/NAME --data.masks GROUND_TRUTH"
            )
        return dataset

    def _open(self, spec: str, **options: Any) -> SegmentationDataset:
        return open_dataset(spec, self.root, **self.choices, **options)

    @property
    def choices(self) -> dict[str, Any]:
        """Options of how files are read that were given."""
        orientation = {"orientation": self.orientation} if self.orientation != "exif" else {}
        values = {"foreground": self.foreground, "ignore": self.ignore}
        return {name: given for name, given in values.items() if given} | orientation

    def about(self, name: str) -> dict[str, Any]:
        """Return what the result of a test set says of how its files were read."""
        return dict(zip(self.test_names, self.test_datasets, strict=True))[name].about()

    @property
    def test_names(self) -> list[str]:
        """A short name for each test set: as given, or of a path its last part."""
        short = [Path(spec).name or spec for spec in self.test]
        return [spec if Counter(short)[name] > 1 else name for spec, name in zip(self.test, short, strict=True)]

    @property
    def counts(self) -> dict[str, int]:
        """Images of the datasets that are open by now: ``train``, ``held_out`` and each test set's name."""
        fit = zip(("train", "held_out"), self._splits or (), strict=False)
        tests = zip(self.test_names, self._tests or (), strict=False)
        return {name: len(dataset) for name, dataset in (*fit, *tests)}

    def describe(self) -> str:
        """One line: how many images of what; opens all datasets."""
        text = f"train {self.train} ({len(self.train_dataset):,} images, {len(self.held_out_dataset):,} held out)"
        pairs = zip(self.test_names, self.test_datasets, strict=True)
        tests = ", ".join(f"{name} ({len(dataset):,})" for name, dataset in pairs)
        return f"{text}, test {tests}" if tests else text

    def check(self) -> None:
        """Open every dataset now, so that no long fit ends at a missing test set; warn where train and test overlap."""
        seen = {path for dataset in self._split() for path in dataset.images}
        self._check_train_size()
        for name, dataset in zip(self.test_names, self.test_datasets, strict=True):
            dataset.decide_reading()
            if shared := sum(path in seen for path in dataset.images):
                message = f"{shared:,} of the {len(dataset):,} images of the test set {name} are also trained on."
                warnings.warn(message, stacklevel=2)

    def setup(self, stage: str) -> None:
        """Open what the stage needs."""
        if stage == "fit":
            self._place.left = None
            self._check_train_size()
        elif stage == "test":
            _ = self.test_datasets

    def train_dataloader(self) -> DataLoader[Any]:
        """Random crops; an unfinished epoch of a loaded checkpoint is taken up where it stopped."""
        self._check_train_size()
        dataset = self.train_dataset
        if self.targets is None:
            _ = dataset.white  # no mask is opened
        else:
            dataset.decide_reading()
        dataset.warn_of_reading(self.train, self.targets is not None)
        items = self._train_items()
        sampler = EpochSampler(items, self.batch_size, self.seed, self._epoch)
        self._place.enter(sampler, self._cut(), self._epoch())
        collate = partial(self._train_collate(), finish=self.colors_on == "workers")
        batches = {"batch_size": self.batch_size, "sampler": sampler, "drop_last": True}
        return make_loader(items, collate, self.num_workers, ResumableLoader, persistent=True, **batches)

    def _train_items(self) -> TrainItems:
        return TrainItems(self.train_dataset, self._augment, self.seed, self._image_cache, self.targets is not None)

    def _train_collate(self) -> "partial[dict[str, Any]]":
        return self._collate(["image", "colors", "path"])

    def val_dataloader(self) -> DataLoader[Any]:
        """The middle of the held-out training images."""
        dataset = self.held_out_dataset if self.targets else _without_unclear_masks(self.held_out_dataset)
        collate = self._collate(["image", "path"] + ["mask"] * (dataset.target_kind == "mask"))
        items = CropItems(dataset, self._crop, self._image_cache, self.targets is not None)
        if process_rank()[1] > 1:
            return make_loader(
                items, collate, self.num_workers, batch_sampler=ShareBatches(items, self.eval_batch_size)
            )
        return make_loader(items, collate, self.num_workers, persistent=True, batch_size=self.eval_batch_size)

    def test_dataloader(self) -> list[DataLoader[Any]]:
        """One loader for each test set."""
        crop = self._test_crop if self.center_crop else None
        boxed = [dataset.name for dataset in self.test_datasets if dataset.annotations is not None]
        if crop is not None and boxed:
            raise UserError(
                f"The boxes of {boxed[0]} refer to whole photographs, and this protocol scores their middle: "
                "pass a protocol without a crop, for example --protocol fullres."
            )
        for name, dataset in zip(self.test_names, self.test_datasets, strict=True):
            dataset.decide_reading()
            dataset.warn_of_reading(name)
        if self.mapping is not None:  # what is wrong with it is an error before anything is scored
            self._mapping = self._open_mapping(self.mapping)
        return [self._whole(dataset, crop) for dataset in self.test_datasets]

    def predict_dataloader(self) -> DataLoader[Any]:
        """The photographs of ``predict_images``."""
        if self.predict_images is None:
            raise UserError("No photographs to predict: pass their folder as --data.predict_images.")
        dataset = open_dataset(self.predict_images, self.root, require_masks=False)
        dataset.masks = dataset.annotations = None
        dataset.decide_reading()
        dataset.warn_of_reading(dataset.name)
        return self._whole(dataset, crop=None)

    def on_after_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        """Colours and normalisation, on the model's device."""
        batch = finished(batch)
        # The trainer converts floats for half-precision models too early for these.
        return batch if self.trainer is None else self.trainer.precision_plugin.convert_input(batch)

    def sample_images(self, count: int) -> Tensor:
        """The middles of up to ``count`` training photographs, evenly spread: (n, 3, size, size), normalised float32.

        The same for every seed and process; photographs that cannot be read are left out.
        """
        dataset = self.train_dataset
        chosen = dataset.select(spread(len(dataset), count))
        chosen.masks = None
        items = CropItems(chosen, self._crop, self._image_cache)
        found = [item["image"] for item in (items[i] for i in range(len(chosen))) if isinstance(item, dict)]
        return to_input(torch.stack(found)) if found else torch.empty(0, 3, self.size, self.size)

    def state_dict(self) -> dict[str, Any]:
        """Where training stands: the epoch, its batches already trained on, and what they were cut from."""
        if self.trainer is None or self._splits is None:
            return {}
        return self._place.state(self.trainer, self._cut())

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember the place for the next training loader."""
        self._place.left = state_dict

    def _split(self) -> tuple[SegmentationDataset, SegmentationDataset]:
        if self._splits is None:
            self._splits = self._open_train().hold_out(self.held_out, self.train_limit)
        return self._splits

    def _open_train(self) -> SegmentationDataset:
        dataset = self._own_train or own_dataset(self.train)
        dataset = dataset or self._open(self.train, require_masks=False)
        if self.targets is None:
            return dataset
        if self.masks is None:
            raise UserError(
                f"This method trains on pseudo-labels of {self.train}, and there are none: pass their folder or JSON "
                "file as --data.masks.\n"
                "Next, to make them: segtricks discover --images PHOTOS --output MASKS, or segtricks predict."
            )
        labels = WithTargets(dataset, self.masks, self.foreground, self.ignore)
        return labels.with_targets(self.targets)

    def _check_train_size(self) -> None:
        images, processes = len(self.train_dataset), process_rank()[1]
        share = images // processes
        if share < self.batch_size:
            where = f" for each of {processes} processes" if processes > 1 else ""
            raise UserError(
                f"{self.train} leaves {share} training images{where} ({len(self.held_out_dataset)} are held out), "
                f"less than one batch of {self.batch_size}: pass --data.batch_size {max(1, share)} or less."
            )

    @cached_property
    def _image_cache(self) -> ImageCache | None:
        if not self.cache:
            return None
        return ImageCache(self.cache_dir, self._augment.resize, self.train_dataset.white)

    def _cut(self) -> dict[str, int]:
        return {
            "images": len(self.train_dataset),
            "batch_size": self.batch_size,
            "processes": process_rank()[1],
            "seed": self.seed,
        }

    def _epoch(self) -> int:
        return 0 if self.trainer is None else self.trainer.current_epoch

    def _collate(self, names: list[str]) -> "partial[dict[str, Any]]":
        names = names if self.targets is None else [*names, "target"]
        return partial(collate_stacked, names=names, size=self.size, targets=self.targets)

    def _whole(self, dataset: SegmentationDataset, crop: CenterCropTransform | None) -> DataLoader[Any]:
        items = WholeItems(dataset, partial(fit_short_side, size=whole_size(self), multiple=self.multiple), crop)
        target = {"labels": "labels", "panoptic": "target"}.get(dataset.target_kind or "", "mask")
        ignored = dataset.reading.masks.ignore if dataset.target_kind == "mask" else ()
        present = ((target, dataset.masks), ("boxes", dataset.annotations), ("ignored", ignored or None))
        names = ("image", "photo", "path", *(name for name, found in present if found is not None))
        sampler = ShareSampler(items) if process_rank()[1] > 1 else None
        collate = partial(collate_lists, names=names)
        return make_loader(items, collate, self.num_workers, batch_size=self.eval_batch_size, sampler=sampler)


class DetectionDataModule(SaliencyDataModule):
    """A :class:`SaliencyDataModule` whose test sets have boxes; training takes any set of photographs.

    Args:
        train: Training set.
        test: Test sets with boxes, or a single one: ``voc07``, ``voc12``, ``coco20k``, or photographs with ``boxes``.
        options: As for :class:`SaliencyDataModule`.
    """

    def __init__(self, train: str = "duts-tr", test: str | list[str] = DETECTION_SETS, **options: Any) -> None:
        super().__init__(train, test, **options)

    @property
    def test_datasets(self) -> list[SegmentationDataset]:
        """Test sets in the order of ``test``, each with boxes."""
        datasets = super().test_datasets
        for dataset in datasets:
            if dataset.annotations is None:
                raise UserError(
                    f"The test set {dataset.name} has no boxes: pass --data.test with one of "
                    f"{', '.join(DETECTION_SETS)}, or photographs with --data.boxes."
                )
        return datasets


def own_dataset(spec: str) -> SegmentationDataset | None:
    """Return the dataset that ``package.module:Name`` makes; None where ``spec`` is not written so.

    Raises:
        UserError: it cannot be imported, or is not a dataset.
    """
    if not re.fullmatch(r"[^\W\d][\w.]*:[^\W\d]\w*", spec):
        return None
    module, _, name = spec.partition(":")
    try:
        make = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UserError(f"Cannot import the dataset {spec} ({error}).{path_hint(module.split('.')[0])}") from error
    dataset = make() if callable(make) else make
    if not isinstance(dataset, SegmentationDataset):
        raise UserError(f"{spec} is not a dataset.\nNext: derive it from segtricks.data.sample.SegmentationDataset.")
    return dataset


def spread(length: int, count: int) -> list[int]:
    """Up to ``count`` indices spread evenly over ``length`` items."""
    count = min(count, length)
    return [i * length // count for i in range(count)]


def _without_unclear_masks(dataset: SegmentationDataset) -> SegmentationDataset:
    """The photographs alone where it is not clear how their masks are read: these are for pictures only."""
    try:
        dataset.decide_reading()
    except UserError as error:
        warnings.warn(f"The masks of {dataset.name} are not shown in pictures. {error}", stacklevel=3)
        dataset = dataset.select(range(len(dataset)))
        dataset.masks = None
    return dataset


def _listed(values: list[int] | int | None) -> list[int]:
    if values is None:
        return []
    return [values] if isinstance(values, int) else list(values)


def _at_least(lowest: int, name: str, value: int) -> int:
    if value < lowest:
        raise UserError(f"{name} is {value}: pass {lowest} or more, for example --data.{name} {max(lowest, 1)}.")
    return value
