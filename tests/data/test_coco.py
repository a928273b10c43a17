import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from segtricks.data.coco import CocoMasks
from segtricks.data.datasets.folder import ImageFolder
from segtricks.data.images import UnreadableImage
from segtricks.errors import UserError

SQUARE = [1, 2, 4, 2, 4, 6, 1, 6]  # x 1 to 4, y 2 to 6


def coco(path: Path, objects: list[Any], names: tuple[str, ...] = ("a.jpg",), **more: Any) -> Path:
    """A file whose first image, 12 x 8, has these outlines."""
    images = [{"id": i, "file_name": name, "width": 12, "height": 8} for i, name in enumerate(names)]
    annotations = [{"id": i, "image_id": 0, "segmentation": outline} | more for i, outline in enumerate(objects)]
    path.write_text(json.dumps({"images": images, "annotations": annotations}))
    return path


def square() -> torch.Tensor:
    mask = torch.zeros(1, 8, 12, dtype=torch.uint8)
    mask[:, 2:6, 1:4] = 255
    return mask


def test_a_polygon_is_filled(tmp_path: Path) -> None:
    mask = CocoMasks(coco(tmp_path / "c.json", [[SQUARE]])).read(Path("a.jpg"))
    assert mask.dtype == torch.uint8
    assert torch.equal(mask, square())


def test_runs_go_down_the_columns_from_background(tmp_path: Path) -> None:
    runs = {"size": [8, 12], "counts": [8 + 2, 4, 4, 4, 4, 4, 2 + 8 * 8]}  # the square, by hand
    assert torch.equal(CocoMasks(coco(tmp_path / "c.json", [runs])).read(Path("a.jpg")), square())


def test_compressed_runs_equal_those_of_the_reference_encoder(tmp_path: Path) -> None:
    from pycocotools import mask as reference

    rng = np.random.default_rng(0)
    images = [rng.random((8, 12)) < share for share in (0, 0.1, 0.5, 1)] + [np.zeros((8, 12), bool)]
    images[-1][3:, 6:] = True
    for pixels in images:
        code = reference.encode(np.asfortranarray(pixels.astype(np.uint8)))
        runs = {"size": [8, 12], "counts": code["counts"].decode()}
        mask = CocoMasks(coco(tmp_path / "c.json", [runs])).read(Path("a.jpg"))
        np.testing.assert_array_equal(mask[0].numpy(), pixels * 255)


def test_stated_boxes_are_corners_that_metal_can_hold(tmp_path: Path) -> None:
    path = coco(tmp_path / "c.json", [[SQUARE]], bbox=[473.07, 395.93, 38.65, 28.67], category_id=1)
    boxes = CocoMasks(path).read_objects(Path("a.jpg")).boxes
    assert boxes.dtype == torch.float32
    expected = torch.tensor([[473.07, 395.93, 473.07 + 38.65, 395.93 + 28.67]])
    assert torch.equal(boxes, expected), "rounded once"


def test_objects_join_and_crowds_are_left_out(tmp_path: Path) -> None:
    other = [8, 0, 12, 0, 12, 3, 8, 3]
    both = square()
    both[:, :3, 8:] = 255
    assert torch.equal(CocoMasks(coco(tmp_path / "c.json", [[SQUARE], [other]])).read(Path("a.jpg")), both)
    assert torch.equal(CocoMasks(coco(tmp_path / "d.json", [[SQUARE, other]])).read(Path("a.jpg")), both)
    crowd = CocoMasks(coco(tmp_path / "e.json", [[SQUARE]], iscrowd=1))
    assert not crowd.read(Path("a.jpg")).any()


@pytest.mark.parametrize(
    ("outline", "reason"),
    [
        ([], "no outline"),
        (None, "no outline"),
        ([[1, 2, 3, 4]], "three points"),  # the drawing library would take it for a box
        ([[1, 2, 3, 4, 5, 6, 7]], "even number"),
        ([[0, 0, 1e9, 0, 1e9, 1e9]], "leaves its image by far"),
        ([[0, 0, float("nan"), 0, 5, 5]], "leaves its image by far"),
        ([[0.1, 0.2, 0.5, 0.2, 0.5, 0.6]], r"lies in 0\.\.1, and not in pixels"),
        ([[20, 2, 24, 2, 24, 6]], "lies outside of its image"),
        ([["one", 2, 4, 2, 4, 6]], ""),
        ([[1, 2], 3], ""),
        ([{"x": 1}], ""),
        ({"size": [12, 8], "counts": [96]}, r"size \[12, 8\] is not the image's, \[8, 12\]"),
        ({"size": [8, 12], "counts": [90]}, "do not add up to 8 x 12"),
        ({"size": [8, 12], "counts": [100, -4]}, "do not add up"),
        ({"size": [8, 12], "counts": "zzzz"}, "do not add up"),  # the drawing library would show its memory
        ({"size": [8, 12], "counts": ""}, ""),
        ({"size": [8, 12], "counts": "é"}, ""),
        ({"size": [8, 12]}, ""),
    ],
)
def test_a_damaged_outline_sets_its_image_alone_aside(tmp_path: Path, outline: Any, reason: str) -> None:
    masks = CocoMasks(coco(tmp_path / "c.json", [[SQUARE], outline], ("a.jpg", "b.jpg")))
    with pytest.raises(UnreadableImage, match=rf"a\.jpg: its annotation 1 in .*c\.json is damaged: .*{reason}"):
        masks.read(Path("a.jpg"))
    assert not masks.read(Path("b.jpg")).any()


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        ({"height": None}, "states no size"),
        ({"height": 0}, "states the size 12 x 0"),
        ({"height": 10**9, "width": 10**9}, "beyond Pillow's limit"),
        ({"id": 1}, "have the id 1, which is that of a.jpg and b.jpg"),
        ({"file_name": "b.png"}, "its file lists b.png and b.jpg, which have one name"),
    ],
)
def test_an_image_that_makes_no_sense_is_set_aside_alone(tmp_path: Path, image: dict[str, Any], reason: str) -> None:
    path = coco(tmp_path / "c.json", [[SQUARE]], ("a.jpg", "b.jpg", "c.jpg"))
    content = json.loads(path.read_text())
    content["images"][0] |= image
    content["annotations"][0]["image_id"] = 2
    path.write_text(json.dumps(content))
    masks = CocoMasks(path)
    with pytest.raises(UnreadableImage, match=reason):
        masks.read(Path(image.get("file_name", "a.jpg")))
    assert torch.equal(masks.read(Path("c.jpg")), square())


def test_a_foreign_annotation_is_said_and_sets_the_image_aside_that_may_lack_it(tmp_path: Path) -> None:
    path = coco(tmp_path / "c.json", [[SQUARE]], image_id=7)
    with pytest.warns(UserWarning, match=r"images that it does not list, not used: 1 \(0\)"):
        masks = CocoMasks(path)
    with pytest.raises(UnreadableImage, match="it has no annotation, and its file has annotations of images"):
        masks.read(Path("a.jpg"))


@pytest.mark.parametrize("name", ["photos\\a.jpg", "C:\\photos\\a.jpg"])
def test_paths_of_windows_are_paths(tmp_path: Path, name: str) -> None:
    masks = CocoMasks(coco(tmp_path / "c.json", [[SQUARE]], (name,)))
    assert torch.equal(masks.read(Path("photos/a.jpg")), square())


def test_a_byte_order_mark_and_texts_for_numbers_are_understood(tmp_path: Path) -> None:
    path = coco(tmp_path / "c.json", [[[str(side) for side in SQUARE]]])
    path.write_bytes(path.read_text().encode("utf-16"))
    assert torch.equal(CocoMasks(path).read(Path("a.jpg")), square())


@pytest.mark.filterwarnings("ignore:.*They are left out")
def test_images_are_found_by_path_then_by_name(tmp_path: Path, write) -> None:  # type: ignore[no-untyped-def]
    photos = [write(tmp_path / f"photos/{name}.jpg") for name in ("train/1", "val/1", "val/2", "val/3")]
    names = ("val/1.jpg", "train/1.jpg", "http/other/2.png", "unknown.jpg")
    file = coco(tmp_path / "c.json", [[SQUARE]], names)
    dataset = ImageFolder(tmp_path / "photos", file, max_unpaired=0.5)
    assert dataset.images == photos[:3]
    assert [bool((dataset.read_mask(i) != 0).any()) for i in range(3)] == [False, True, False]  # type: ignore[union-attr]
    with pytest.raises(UserError, match=r"photos: 1 of its images have no mask of the same name: \S*val/3"):
        ImageFolder(tmp_path / "photos", file)


def test_samples_parts_and_photographs_of_another_size(tmp_path: Path, write) -> None:  # type: ignore[no-untyped-def]
    write(tmp_path / "photos/a.jpg")
    write(tmp_path / "photos/b.jpg", size=(8, 12))
    dataset = ImageFolder(tmp_path / "photos", coco(tmp_path / "c.json", [[SQUARE]], ("a.jpg", "b.jpg")))
    mask = dataset.part(0, 1)[0]["target"]
    assert mask is not None
    assert torch.equal(mask, square())
    with pytest.raises(UnreadableImage, match=r"b\.jpg: the image is 8 x 12 pixels, its mask .* 12 x 8"):
        dataset[1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "No file .*: pass a COCO JSON file or a folder of masks"),
        ("[]", "is not a COCO annotation file"),
        ("{", "is not a COCO annotation file"),
        (
            '{"images": [{"id": 3, "file_name": "a", "height": 1, "width": 1}],'
            ' "annotations": [{"image_id": 3, "id": 1}]}',
            "holds boxes but no outlines",
        ),
    ],
)
def test_files_of_another_kind_are_named(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "c.json").write_text(text)
    with pytest.raises(UserError, match=message):
        CocoMasks(tmp_path / "c.json")


def test_real_outlines_agree_with_another_drawing_of_them(photographs: Path) -> None:
    file = photographs / "coco/annotations/instances_train2017.json"
    content = json.loads(file.read_text())
    dataset = ImageFolder(photographs / "coco/images", file)
    assert len(dataset) == 128
    ids = {image["file_name"]: image["id"] for image in content["images"]}
    for index in range(0, 128, 12):
        mask = dataset[index]["target"]
        assert mask is not None
        drawn = Image.new("L", (mask.shape[2], mask.shape[1]))
        for item in content["annotations"]:
            if item["image_id"] == ids[dataset.images[index].name] and not item["iscrowd"]:
                for polygon in item["segmentation"]:
                    ImageDraw.Draw(drawn).polygon(polygon, fill=255)
        differ = (mask[0].numpy() > 0) != (np.asarray(drawn) > 0)
        assert differ.mean() < 0.01  # the outlines' own pixels


def test_real_images_with_nothing_but_crowds_have_an_empty_mask(photographs: Path) -> None:
    dataset = ImageFolder(photographs / "coco/images", photographs / "coco/annotations/instances_train2017.json")
    empty = [path.stem for i, path in enumerate(dataset.images) if not dataset.read_mask(i).any()]  # type: ignore[union-attr]
    assert empty == ["000000000250", "000000000508"]
