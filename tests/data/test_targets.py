import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segtricks.data.datasets.folder import ImageFolder
from segtricks.data.datasets.registry import open_dataset
from segtricks.data.datasets.synthetic import SyntheticShapes
from segtricks.data.images import UnreadableImage, read_image
from segtricks.data.label_entry import encode_mask, write_entry, write_labels
from segtricks.data.sample import Instances, Panoptic
from segtricks.data.targets import WithTargets
from segtricks.data.transforms import VOID
from segtricks.errors import UserError


@pytest.fixture
def photographs(tmp_path: Path, write: Callable[..., Path]) -> ImageFolder:
    """Photographs a and b, and one of another folder that is called a, too."""
    for i, name in enumerate(("a", "b", "more/a")):
        write(tmp_path / f"photos/{name}.jpg", seed=i)
    return ImageFolder(tmp_path / "photos")


def test_masks_are_found_by_the_end_of_the_photographs_path(
    tmp_path: Path, photographs: ImageFolder, write: Callable[..., Path]
) -> None:
    for name in ("photos/a", "b", "photos/more/a"):
        write(tmp_path / f"masks/{name}.png", mask=True)
    dataset = WithTargets(photographs, tmp_path / "masks")
    assert dataset.name == "photos"
    pairs = zip(dataset.images, dataset.masks or [], strict=True)
    names = [(image.parent.name, image.stem, mask.parent.name) for image, mask in pairs]
    assert names == [("photos", "a", "photos"), ("photos", "b", "masks"), ("more", "a", "more")]
    assert torch.equal(dataset[1]["image"], read_image(photographs.images[1]))
    assert dataset[1]["target"].unique().tolist() == [0, 255]  # type: ignore[union-attr]


def test_photographs_without_a_mask_are_left_out_with_a_warning(
    tmp_path: Path, photographs: ImageFolder, write: Callable[..., Path]
) -> None:
    write(tmp_path / "masks/b.png", mask=True)
    write(tmp_path / "masks/unknown.png", mask=True)
    with pytest.warns(UserWarning, match="2 of the 3 images of photos have no pseudo-labels in"):
        dataset = WithTargets(photographs, tmp_path / "masks")
    assert [path.stem for path in dataset.images] == ["b"]
    assert torch.equal(dataset.select([0]).read_image(0), read_image(photographs.images[1]))


def test_masks_of_other_photographs_are_refused(
    tmp_path: Path, photographs: ImageFolder, write: Callable[..., Path]
) -> None:
    write(tmp_path / "masks/c.png", mask=True)
    with pytest.raises(UserError, match=r"None of the 3 images .* for example a\. There is c\.\nNext: .*--data\.masks"):
        WithTargets(photographs, tmp_path / "masks")


def test_masks_within_the_folder_of_the_photographs_are_not_photographs(
    tmp_path: Path, write: Callable[..., Path]
) -> None:
    write(tmp_path / "photos/a.jpg")
    write(tmp_path / "photos/masks/a.png", mask=True)
    dataset = WithTargets(ImageFolder(tmp_path / "photos"), tmp_path / "photos/masks")
    assert [path.name for path in dataset.images] == ["a.jpg"]


def test_a_data_sets_own_masks_are_replaced(tmp_path: Path, write: Callable[..., Path]) -> None:
    shapes = SyntheticShapes(4, 16)
    for number in (1, 2):
        write(tmp_path / f"{number:06d}.png", mask=True, size=(16, 16))
    with pytest.warns(UserWarning, match="2 of the 4 images"):
        dataset = WithTargets(shapes, tmp_path)
    assert torch.equal(dataset.select([1]).read_image(0), shapes.read_image(2))
    assert dataset.read_mask(1)[0, :, :8].eq(255).all()  # type: ignore[index]
    assert not torch.equal(dataset.read_mask(1), shapes.read_mask(2))  # type: ignore[arg-type]


def test_a_coco_file_gives_instances(tmp_path: Path, photographs: ImageFolder) -> None:
    images = [{"id": 1, "file_name": "b.jpg", "width": 12, "height": 8}]
    objects = [
        {"id": 1, "image_id": 1, "category_id": 5, "score": 0.25, "segmentation": [[1, 2, 4, 2, 4, 6, 1, 6]]},
        {"id": 2, "image_id": 1, "segmentation": [[8, 0, 12, 0, 12, 3, 8, 3]]},
        {"id": 3, "image_id": 1, "segmentation": [[0, 0, 12, 0, 12, 8, 0, 8]]},  # everything
    ]
    (tmp_path / "c.json").write_text(json.dumps({"images": images, "annotations": objects}))
    with pytest.warns(UserWarning, match="2 of the 3 images"):
        dataset = WithTargets(photographs, tmp_path / "c.json").with_targets("instances")
    found = dataset[0]["target"]
    assert isinstance(found, Instances)
    assert found.masks.sum((1, 2)).tolist() == [12, 12]
    assert found.labels.tolist() == [5, 1]
    assert found.scores.tolist() == [0.25, 1]
    mask = dataset.with_targets("mask")[0]["target"]
    assert torch.equal(mask, found.masks.any(0, keepdim=True) * torch.tensor(255, dtype=torch.uint8))  # type: ignore[arg-type]
    with pytest.raises(UnreadableImage, match="has no label map in"):
        dataset.with_targets("labels")[0]


def test_a_folder_of_label_maps_gives_labels_and_so_does_a_store(tmp_path: Path, photographs: ImageFolder) -> None:
    ids = np.arange(96, dtype=np.uint8).reshape(8, 12)
    (tmp_path / "maps").mkdir()
    for stem, image in zip("ab", photographs.images, strict=False):
        Image.fromarray(ids).save(tmp_path / f"maps/{stem}.png")
        write_labels(tmp_path / "store", stem, ids.astype(np.int64) * 9)
        write_entry(tmp_path / "store", stem, image.name, (8, 12), [])
    alone = photographs.select([0, 1])
    for folder, factor in (("maps", 1), ("store", 9)):
        labels = WithTargets(alone, tmp_path / folder).with_targets("labels")[1]["target"]
        assert labels.dtype == torch.int64  # type: ignore[union-attr]
        np.testing.assert_array_equal(labels[0].numpy(), ids.astype(int) * factor)  # type: ignore[index, union-attr]


def test_a_store_gives_instances_with_a_map_of_stuff_which_is_unknown_where_it_has_none(
    tmp_path: Path, photographs: ImageFolder
) -> None:
    inside = np.zeros((8, 12), bool)
    inside[2:5, 3:9] = True
    stuff = np.where(inside, 0, 2)
    for stem, image in zip("ab", photographs.images, strict=False):
        if stem == "a":
            write_labels(tmp_path / "store", f"photos/{stem}", stuff)
        write_entry(tmp_path / "store", f"photos/{stem}", image.name, (8, 12), [encode_mask(inside, 0.5, 7)])
    with pytest.warns(UserWarning, match="1 of the 3 images"):
        dataset = open_dataset(tmp_path / "photos", masks=tmp_path / "store").with_targets("panoptic")
    for index, expected in enumerate((stuff, stuff * 0 + VOID)):
        found = dataset[index]["target"]
        assert isinstance(found, Panoptic)
        np.testing.assert_array_equal(found.semantic[0].numpy(), expected)
        np.testing.assert_array_equal(found.instances.masks[0].numpy(), inside)
        assert found.instances.labels.tolist() == [7]


def test_a_coco_file_as_truth_keeps_crowds_apart_and_boxes_as_stated(tmp_path: Path, photographs: ImageFolder) -> None:
    outline = [[1, 2, 4, 2, 4, 6, 1, 6]]
    items = [
        {"id": 1, "image_id": 1, "category_id": 5, "iscrowd": 1, "bbox": [0, 0, 2, 2], "segmentation": outline},
        {"id": 2, "image_id": 1, "category_id": 3, "bbox": [1, 2, 2.5, 4], "segmentation": outline},
    ]
    images = [{"id": 1, "file_name": photographs.images[1].name, "width": 12, "height": 8}]
    (tmp_path / "c.json").write_text(json.dumps({"images": images, "annotations": items}))
    with pytest.warns(UserWarning, match="2 of its images"):
        dataset = ImageFolder(photographs.root, tmp_path / "c.json", max_unpaired=1).with_targets("panoptic")
    found = dataset[0]["target"]
    assert isinstance(found, Panoptic)
    assert found.instances.labels.tolist() == [3, 5]
    assert found.instances.crowd.tolist() == [False, True]  # type: ignore[union-attr]
    assert found.instances.boxes.tolist() == [[1, 2, 3.5, 6], [0, 0, 2, 2]]  # type: ignore[union-attr]
    assert (found.semantic == VOID).all()
    assert dataset.with_targets("mask")[0]["target"].sum() == 12 * 255  # type: ignore[union-attr]
