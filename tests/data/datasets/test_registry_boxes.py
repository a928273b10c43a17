import json
from pathlib import Path

import pytest

from segtricks.data.datamodule import DetectionDataModule
from segtricks.data.datasets.folder import ImageFolder
from segtricks.data.datasets.registry import attach_boxes
from segtricks.errors import UserError


@pytest.fixture
def photos(tmp_path: Path, write) -> Path:  # type: ignore[no-untyped-def]
    """Photographs a and b of 12 x 8 and, beside them, a COCO file that knows a alone."""
    for stem in "ab":
        write(tmp_path / "photos" / f"{stem}.png", size=(12, 8))
    images = [{"id": 7, "file_name": "a.png", "width": 12, "height": 8}]
    boxes = [{"image_id": 7, "bbox": [1, 2, 3, 4]}, {"image_id": 7, "bbox": [0, 0, 12, 8], "iscrowd": 1}]
    (tmp_path / "boxes.json").write_text(json.dumps({"images": images, "annotations": boxes}))
    return tmp_path / "photos"


def test_images_without_boxes_are_left_out_and_counted(photos: Path) -> None:
    with pytest.warns(UserWarning, match=r"1 of 2 images of photos have no boxes in .*, the first is b\.png"):
        dataset = attach_boxes(ImageFolder(photos), photos.parent / "boxes.json")
    assert [path.stem for path in dataset.images] == ["a"]
    assert dataset[0]["boxes"].tolist() == [[1, 2, 4, 6]]  # type: ignore[union-attr]


def test_boxes_of_other_images_are_refused(photos: Path) -> None:
    (photos / "a.png").rename(photos / "z.png")
    with pytest.raises(UserError, match="None of the 2 images of photos has boxes"):
        attach_boxes(ImageFolder(photos), photos.parent / "boxes.json")


@pytest.mark.filterwarnings("ignore:1 of 2 images")
def test_batches_of_a_folder_with_boxes(photos: Path) -> None:
    boxes = str(photos.parent / "boxes.json")
    data = DetectionDataModule(test=str(photos), boxes=boxes, num_workers=0, size=16, multiple=8)
    (loader,) = data.test_dataloader()
    (batch,) = loader
    assert "mask" not in batch
    assert [boxes.tolist() for boxes in batch["boxes"]] == [[[1, 2, 4, 6]]]
    assert batch["photo"][0].shape == (3, 8, 12)
    data.crop_tests(16, 16, 8)
    with pytest.raises(UserError, match="refer to whole photographs"):
        data.test_dataloader()


def test_a_test_set_without_boxes_is_refused() -> None:
    with pytest.raises(UserError, match=r"synthetic has no boxes: pass --data\.test with one of voc07, voc12, coco20k"):
        _ = DetectionDataModule(test="synthetic[:3]").test_datasets
