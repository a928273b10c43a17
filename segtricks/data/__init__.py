"""Photographs and masks: reading, datasets by name, transforms, and the LightningDataModule that joins them."""

from typing import TYPE_CHECKING, Any

from segtricks.data.datasets.coco20k import COCO20K
from segtricks.data.datasets.dut_omron import DUTOMRON
from segtricks.data.datasets.duts import DUTSTest, DUTSTrain
from segtricks.data.datasets.ecssd import ECSSD
from segtricks.data.datasets.examples import ExamplePhotographs
from segtricks.data.datasets.folder import ImageFolder
from segtricks.data.datasets.registry import DATASET_NAMES, create_dataset, open_dataset
from segtricks.data.datasets.synthetic import SyntheticShapes
from segtricks.data.datasets.voc import VOC07, VOC12
from segtricks.data.images import IMAGE_SUFFIXES, UnreadableImage, find_images, read_image, read_labels, read_mask
from segtricks.data.sample import Instances, SaliencyDataset, Sample, SegmentationDataset
from segtricks.data.transforms import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    CenterCropTransform,
    EvalTransform,
    TrainTransform,
    denormalize,
    fit_short_side,
    normalize,
    to_input,
)

if TYPE_CHECKING:
    from segtricks.data.datamodule import DetectionDataModule, SaliencyDataModule

__all__ = [
    "COCO20K",
    "DATASET_NAMES",
    "DUTOMRON",
    "ECSSD",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "IMAGE_SUFFIXES",
    "VOC07",
    "VOC12",
    "CenterCropTransform",
    "DUTSTest",
    "DUTSTrain",
    "DetectionDataModule",
    "EvalTransform",
    "ExamplePhotographs",
    "ImageFolder",
    "Instances",
    "SaliencyDataModule",
    "SaliencyDataset",
    "Sample",
    "SegmentationDataset",
    "SyntheticShapes",
    "TrainTransform",
    "UnreadableImage",
    "create_dataset",
    "denormalize",
    "find_images",
    "fit_short_side",
    "normalize",
    "open_dataset",
    "read_image",
    "read_labels",
    "read_mask",
    "to_input",
]


def __getattr__(name: str) -> Any:
    # Lightning takes seconds to import, and reading a mask does not need it.
    if name in ("DetectionDataModule", "SaliencyDataModule"):
        from segtricks.data import datamodule

        return getattr(datamodule, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
