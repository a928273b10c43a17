import json
import shutil
from pathlib import Path

import pytest

from segtricks.data.datasets.coco20k import COCO20K
from segtricks.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore:.*were published:UserWarning")


@pytest.fixture
def coco(tmp_path: Path, write) -> Path:  # type: ignore[no-untyped-def]
    """Images a, b and c of 12 x 8; the list has a and c; a has an object and a crowd."""
    folder = tmp_path / "coco"
    for i, stem in enumerate("abc"):
        write(folder / "train2014" / f"{stem}.jpg", seed=i)
    images = [{"id": i, "file_name": f"{stem}.jpg", "width": 12, "height": 8} for i, stem in enumerate("abc")]
    objects = [
        {"image_id": 0, "bbox": [1, 2, 4, 3], "iscrowd": 0, "segmentation": [[1, 2, 5, 2, 5, 5, 1, 5]]},
        {"image_id": 0, "bbox": [0, 0, 12, 8], "iscrowd": 1, "segmentation": {"size": [8, 12], "counts": [0, 96]}},
        {"image_id": 1, "bbox": [0, 0, 9, 9], "iscrowd": 0, "segmentation": [[0, 0, 9, 0, 9, 8]]},
        {"image_id": 2, "bbox": [0.5, 0, 2.25, 8], "iscrowd": 0, "segmentation": [[0, 0, 2, 0, 2, 8]]},
    ]
    (folder / "annotations").mkdir()
    content = {"images": images, "annotations": objects}
    (folder / "annotations/instances_train2014.json").write_text(json.dumps(content))
    (folder / "coco_20k_filenames.txt").write_text("train2014/c.jpg\ntrain2014/a.jpg\n")
    return folder


def test_the_list_decides_and_crowds_are_dropped(coco: Path) -> None:
    for root in (coco, coco.parent):
        dataset = COCO20K(root)
        assert dataset.images == [coco / "train2014/a.jpg", coco / "train2014/c.jpg"]
        assert [dataset[i]["boxes"].tolist() for i in range(2)] == [[[1, 2, 5, 5]], [[0.5, 0, 2.75, 8]]]  # type: ignore[union-attr]


def test_the_published_count_is_compared(coco: Path) -> None:
    with pytest.warns(UserWarning, match="2 images, 19,817 were published"):
        COCO20K(coco)
    with pytest.raises(UserError, match="19,817 were published"):
        COCO20K(coco, strict=True)


@pytest.mark.parametrize("name", ["coco_20k_filenames.txt", "annotations/instances_train2014.json", "train2014"])
def test_what_is_missing_is_named_with_the_command_that_gets_it(coco: Path, name: str) -> None:
    shutil.rmtree(coco / name) if name == "train2014" else (coco / name).unlink()
    with pytest.raises(UserError, match=rf"(?s){Path(name).name}.*Next: segtricks data download coco20k"):
        COCO20K(coco)


def test_photographs_alone_need_no_annotations(coco: Path) -> None:
    shutil.rmtree(coco / "annotations")
    assert COCO20K(coco, require_boxes=False)[0]["boxes"] is None


def test_a_listed_image_that_the_annotations_do_not_know_is_named(coco: Path) -> None:
    (coco / "coco_20k_filenames.txt").write_text("train2014/a.jpg\ntrain2014/d.jpg\n")
    with pytest.raises(UserError, match=r"1 listed images are not in .*, first d\.jpg"):
        COCO20K(coco)


def test_the_published_list_has_the_published_length(photographs: Path) -> None:
    lines = (photographs / "lists/coco_20k_filenames.txt").read_text().split()
    assert len(set(lines)) == COCO20K.expected
