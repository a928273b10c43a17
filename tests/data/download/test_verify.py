import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segtricks.data.boxes import ImageBoxes
from segtricks.data.datasets.duts import DUTSTrain
from segtricks.data.datasets.ecssd import ECSSD
from segtricks.data.download.verify import (
    Finding,
    check_count,
    check_item,
    check_names,
    common_folder,
    mask_file,
    open_whole,
)
from segtricks.data.sample import SegmentationDataset
from segtricks.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore:.*(were published|left out):UserWarning")

Pair = Callable[..., SegmentationDataset]


@pytest.fixture
def one(tmp_path: Path, write) -> Pair:  # type: ignore[no-untyped-def]
    """A dataset of one photograph, 4 x 2, whose mask has the given pixels."""

    def one(pixels: object, mode: str | None = None) -> SegmentationDataset:
        image = write(tmp_path / "a.jpg", size=(4, 2))
        mask = Image.fromarray(np.asarray(pixels, np.uint8))
        mask.convert(mode or mask.mode).save(tmp_path / "a.png")
        return SegmentationDataset("one", [image], [tmp_path / "a.png"])

    return one


HALF = [[0, 0, 255, 255]] * 2


@pytest.mark.parametrize(
    ("pixels", "values", "notes"),
    [
        (HALF, "0/255", []),
        ([[0, 0, 1, 1]] * 2, "0/1", [("zero_one", "")]),
        ([[0, 7, 255, 255], [0, 0, 0, 254]], "soft", [("soft", "25 % of its pixels")]),
        ([[0] * 4] * 2, "empty", [("empty", "all 0")]),
        ([[255] * 4] * 2, "full", [("full", "all 255")]),
        ([[1] * 4] * 2, "full", [("full", "all 255")]),
        ([[200] * 4] * 2, "full", [("soft", "100 % of its pixels"), ("full", "all 200")]),
        ([[[0, 0, 0], [255, 255, 255]] * 2] * 2, "0/255", []),  # RGB, yet gray
        ([[[0, 0, 0], [255, 0, 0]] * 2] * 2, "classes", [("colour", "RGB")]),  # the only colour is the foreground
    ],
)
def test_what_a_mask_holds(one: Pair, pixels: object, values: str, notes: list[tuple[str, str]]) -> None:
    dataset = one(pixels)
    path = str(dataset.masks[0])  # type: ignore[index]
    assert check_item(dataset, 0) == ([Finding(kind, path, detail) for kind, detail in notes], values)


def test_one_bit_masks_are_nothing_special(one: Pair) -> None:
    assert check_item(one(HALF, "1"), 0) == ([], "0/255")


def test_unreadable_photograph_and_mask_are_two_faults(one: Pair) -> None:
    dataset = one(HALF)
    for path in (dataset.images[0], dataset.masks[0]):  # type: ignore[index]
        path.write_bytes(path.read_bytes()[:50])
    found, values = check_item(dataset, 0)
    assert [(finding.kind, Path(finding.path).name) for finding in found] == [("image", "a.jpg"), ("mask", "a.png")]
    assert all(finding.detail for finding in found)
    assert values is None


def test_sizes_that_differ_are_a_fault(one: Pair) -> None:
    dataset = one([[0, 255, 0]] * 3)
    assert check_item(dataset, 0)[0] == [Finding("size", str(dataset.images[0]), "image 4 x 2, mask 3 x 3")]


@pytest.mark.parametrize(
    ("size", "boxes", "expected"),
    [
        ((2, 4), [[0, 0, 4, 2], [1, 0, 2, 1]], []),
        ((2, 4), [[-0.5, 0, 4.3, 2]], []),  # rounded coordinates
        ((4, 2), [[0, 0, 1, 1]], [("size", "image 4 x 2, annotation 2 x 4")]),
        ((2, 4), [[0, 0, 6, 2], [0, 0, 1, 1]], [("outside", "1 of 2 boxes")]),
        ((2, 4), [[0, -2, 4, 2], [2, 0, 2, 1], [0, 1, 3, 0]], [("outside", "3 of 3 boxes")]),
        ((2, 4), [], []),
    ],
)
def test_boxes_lie_within_the_image(one: Pair, size, boxes, expected) -> None:  # type: ignore[no-untyped-def]
    dataset = one(HALF)
    dataset.annotations = [ImageBoxes(size, torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4))]
    path = str(dataset.images[0])
    assert check_item(dataset, 0)[0] == [Finding(kind, path, detail) for kind, detail in expected]


def test_files_without_partner_and_the_strays_of_duts_are_found(tmp_path: Path, published, write) -> None:  # type: ignore[no-untyped-def]
    folder = published(tmp_path / "DUTS-TR", DUTSTrain)
    stray = write(folder / "DUTS-TR-Mask/b.jpg", mask=True)
    lonely = write(folder / "DUTS-TR-Image/d.jpg"), write(folder / "DUTS-TR-Mask/e.png", mask=True)
    dataset = open_whole("duts-tr", tmp_path)
    assert len(dataset) == 3
    assert sorted(check_names(dataset)) == [
        Finding("double", str(stray)),
        Finding("no_image", str(lonely[1])),
        Finding("no_mask", str(lonely[0])),
    ]
    assert check_count(dataset) == "3 images, 10,553 were published: 10,550 fewer"
    assert common_folder(dataset) == folder


def test_names_of_photographs(tmp_path: Path, write) -> None:  # type: ignore[no-untyped-def]
    same = [write(tmp_path / "x/a.png"), write(tmp_path / "x/a.jpg")]
    write(tmp_path / "y/a.png")
    odd = write(tmp_path / "b\nc.png")
    dataset = open_whole(str(tmp_path), "nowhere")
    assert sorted(check_names(dataset)) == sorted(
        [Finding("name", str(odd)), *(Finding("same_name", str(path)) for path in same)]
    )
    assert check_count(dataset) == ""


def test_a_list_names_what_is_missing(tmp_path: Path, write) -> None:  # type: ignore[no-untyped-def]
    write(tmp_path / "a.png")
    (tmp_path / "all.txt").write_text("a.png\nb.png\n")
    assert check_names(open_whole(str(tmp_path / "all.txt"), "nowhere")) == [
        Finding("missing", str(tmp_path / "b.png"))
    ]


def test_masks_of_a_coco_file_are_named_by_their_photograph(tmp_path: Path, write) -> None:  # type: ignore[no-untyped-def]
    image = write(tmp_path / "photos/a.png")
    objects = [{"id": 5, "image_id": 1, "segmentation": [[1, 2]]}]
    content = {"images": [{"id": 1, "file_name": "a.png", "width": 12, "height": 8}], "annotations": objects}
    (tmp_path / "c.json").write_text(json.dumps(content))
    dataset = open_whole(str(tmp_path / "photos"), "nowhere", tmp_path / "c.json")
    assert mask_file(dataset, 0) is None
    (finding,), _ = check_item(dataset, 0)
    assert (finding.kind, finding.path) == ("mask", str(image))
    assert finding.detail.startswith("its annotation 5")


def voc(folder: Path, write, stem: str, xml: str = "") -> None:  # type: ignore[no-untyped-def]
    write(folder / f"JPEGImages/{stem}.jpg")
    (folder / "Annotations").mkdir(exist_ok=True)
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>12</xmax><ymax>8</ymax></bndbox>"
    whole = f"<annotation><size><width>12</width><height>8</height></size><object>{box}</object></annotation>"
    (folder / f"Annotations/{stem}.xml").write_text(xml or whole)
    (folder / "ImageSets/Main").mkdir(parents=True, exist_ok=True)
    with (folder / "ImageSets/Main/trainval.txt").open("a") as names:
        names.write(f"{stem}\n")


def test_a_damaged_annotation_of_voc_is_one_fault(tmp_path: Path, write) -> None:  # type: ignore[no-untyped-def]
    folder = tmp_path / "VOCdevkit/VOC2007"
    voc(folder, write, "1")
    voc(folder, write, "2", "<annotation>")
    voc(folder, write, "3")
    (folder / "SegmentationClass").mkdir()
    Image.fromarray(np.array([[0, 255, 7]] * 9, np.uint8)).save(folder / "SegmentationClass/3.png")
    dataset = open_whole("voc07", tmp_path)
    found = [check_item(dataset, i)[0] for i in range(3)]
    assert found[0] == []
    assert [finding.kind for finding in found[1]] == ["boxes"]
    assert "2.xml" in found[1][0].detail
    assert found[2] == [Finding("size", str(dataset.images[2]), "image 12 x 8, mask 3 x 9")]


@pytest.mark.parametrize(
    ("spec", "masks", "message"),
    [
        ("ecsd", None, r"neither a dataset \(did you mean ecssd"),
        ("synthetic", None, "no files of its own"),
        ("ecssd[:2]", None, "a whole published set"),
        ("ecssd", "masks", "--masks belongs to a folder"),
    ],
)
def test_what_cannot_be_checked(tmp_path: Path, published, spec: str, masks: str | None, message: str) -> None:  # type: ignore[no-untyped-def]
    published(tmp_path / "ECSSD", ECSSD)
    with pytest.raises(UserError, match=message):
        open_whole(spec, tmp_path, masks)


def test_real_pairs_boxes_and_outlines_have_no_fault(photographs: Path) -> None:
    coco = photographs / "coco"
    for spec, masks in (
        ("ecssd", None),
        (str(photographs / "DAVIS/JPEGImages"), photographs / "DAVIS/Annotations"),
        ("voc12", None),
        (str(coco / "images"), coco / "annotations/instances_train2017.json"),
    ):
        dataset = open_whole(spec, photographs, masks)
        found = [finding for index in range(0, len(dataset), 15) for finding in check_item(dataset, index).findings]
        assert (check_names(dataset), found) == ([], [])
