import json
from pathlib import Path

import pytest

from segtricks.data.datamodule import DetectionDataModule
from segtricks.data.datasets.dut_omron import DUTOMRON
from segtricks.data.datasets.duts import DUTSTest, DUTSTrain
from segtricks.data.datasets.ecssd import ECSSD
from segtricks.data.datasets.examples import ExamplePhotographs
from segtricks.data.datasets.folder import ImageFolder
from segtricks.data.datasets.registry import DATASET_NAMES, attach_boxes, create_dataset, open_dataset
from segtricks.data.datasets.synthetic import SyntheticShapes
from segtricks.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore:.*were published:UserWarning")


@pytest.mark.parametrize(
    ("name", "kind"), [("duts-tr", DUTSTrain), ("duts-te", DUTSTest), ("dut-omron", DUTOMRON), ("ecssd", ECSSD)]
)
def test_names_open_their_datasets(tmp_path: Path, published, name: str, kind) -> None:  # type: ignore[no-untyped-def]
    published(tmp_path / kind.folders[0], kind)
    dataset = create_dataset(name, tmp_path)
    assert type(dataset) is kind
    assert len(dataset) == 3


def test_synthetic_needs_no_root() -> None:
    assert isinstance(create_dataset("synthetic", "/nowhere"), SyntheticShapes)


@pytest.mark.filterwarnings("ignore:examples:UserWarning")  # matplotlib's photograph is always there
def test_examples_need_no_root() -> None:
    assert isinstance(create_dataset("examples", "/nowhere"), ExamplePhotographs)
    assert create_dataset("examples", require_masks=False).masks is None


@pytest.mark.parametrize(("wrong", "meant"), [("ECSSD", "ecssd"), ("duts_tr", "duts-tr"), ("omron", "dut-omron")])
def test_an_unknown_name_lists_near_and_allowed_ones(wrong: str, meant: str) -> None:
    with pytest.raises(UserError, match=rf"'{wrong}': did you mean .*{meant}.*\? Allowed: {', '.join(DATASET_NAMES)}"):
        create_dataset(wrong)


def test_options_reach_the_dataset(tmp_path: Path, published) -> None:  # type: ignore[no-untyped-def]
    folder = published(tmp_path, ECSSD)
    (folder / "ground_truth_mask/a.png").unlink()
    assert create_dataset("ecssd", tmp_path, require_masks=False).masks is None
    with pytest.raises(UserError, match="were published"):
        create_dataset("ecssd", tmp_path, require_masks=False, strict=True)


@pytest.mark.parametrize(
    ("part", "stems"),
    [("", "abcde"), ("[:2]", "ab"), ("[3:]", "de"), ("[-1:]", "e"), ("[1:3]", "bc"), ("[ : 1 ]", "a")],
)
def test_parts_of_names_and_of_paths(tmp_path: Path, published, part: str, stems: str) -> None:  # type: ignore[no-untyped-def]
    folder = published(tmp_path / "ECSSD", ECSSD, "abcde")
    for dataset in (
        open_dataset(f"ecssd{part}", tmp_path),
        open_dataset(f"{folder}/images{part}", require_masks=False),
    ):
        assert [path.stem for path in dataset.images] == list(stems)


def test_a_folder_may_be_called_like_a_part(tmp_path: Path, write) -> None:  # type: ignore[no-untyped-def]
    write(tmp_path / "photos[1:2]/a.png")
    assert len(open_dataset(tmp_path / "photos[1:2]", require_masks=False)) == 1


def test_a_folder_may_be_called_like_a_dataset(tmp_path: Path, write, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    write(tmp_path / "ecssd/a.png")
    monkeypatch.chdir(tmp_path)
    assert isinstance(open_dataset("./ecssd", require_masks=False), ImageFolder)


def test_a_folder_with_masks(tmp_path: Path, write) -> None:  # type: ignore[no-untyped-def]
    write(tmp_path / "photos/a.jpg")
    mask = write(tmp_path / "masks/a.png", mask=True)
    assert open_dataset(tmp_path / "photos", masks=tmp_path / "masks").masks == [mask]
    with pytest.raises(UserError, match=r"photos has nothing to compare with: .* --data\.masks"):
        open_dataset(tmp_path / "photos")


@pytest.mark.parametrize("spec", ["ecssd[320]", "ecssd[a:b]", "ecssd[1:2:3]", "ecssd[]"])
def test_what_is_no_part_is_named(spec: str) -> None:
    with pytest.raises(UserError, match=r"is not a part: write NAME\[start:stop\]"):
        open_dataset(spec)


def test_an_empty_part_is_an_error(tmp_path: Path, published) -> None:  # type: ignore[no-untyped-def]
    published(tmp_path, ECSSD)
    with pytest.raises(UserError, match=r"ECSSD\[3:9\] is empty: ECSSD has 3 images"):
        open_dataset("ecssd[3:9]", tmp_path)


def test_neither_name_nor_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'escsd' is neither a dataset \(did you mean ecssd.*nor a folder"):
        open_dataset("escsd", tmp_path)
    with pytest.raises(UserError, match=rf"'{tmp_path}/photos' is neither a dataset nor a folder"):
        open_dataset(f"{tmp_path}/photos[:5]")


def test_synthetic_parts_reach_beyond_its_count() -> None:
    assert len(open_dataset("synthetic[5000:5040]")) == 40


@pytest.fixture
def photos(tmp_path: Path, write) -> Path:  # type: ignore[no-untyped-def]
    """Photographs a and b of 12 x 8 and, next to them, a COCO file that knows a alone."""
    for stem in "ab":
        write(tmp_path / "photos" / f"{stem}.png", size=(12, 8))
    images = [{"id": 7, "file_name": "a.png", "width": 12, "height": 8}]
    boxes = [{"image_id": 7, "bbox": [1, 2, 3, 4]}, {"image_id": 7, "bbox": [0, 0, 12, 8], "iscrowd": 1}]
    (tmp_path / "boxes.json").write_text(json.dumps({"images": images, "annotations": boxes}))
    return tmp_path / "photos"


def test_images_without_boxes_are_left_out_and_counted(photos: Path) -> None:
    with pytest.warns(UserWarning, match=r"1 of the 2 images of photos have no boxes in .*, the first is b\.png"):
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
