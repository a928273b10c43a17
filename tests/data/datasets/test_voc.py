import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segtricks.data.datasets.voc import VOC07, VOC12
from segtricks.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore:.*were published:UserWarning")

KINDS = [VOC07, VOC12]


def annotation(*objects: str) -> str:
    return f"<annotation><size><width>12</width><height>8</height></size>{''.join(objects)}</annotation>"


def entry(box: tuple[int, int, int, int], difficult: int = 0, truncated: int = 0) -> str:
    sides = "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
    flags = f"<difficult>{difficult}</difficult><truncated>{truncated}</truncated>"
    return f"<object>{flags}<bndbox>{sides}</bndbox></object>"


@pytest.fixture
def devkit(tmp_path: Path, write):  # type: ignore[no-untyped-def]
    """A VOCdevkit of both years: images a and b, of which b has nothing but a difficult object."""
    for kind in KINDS:
        folder = tmp_path / "VOCdevkit" / f"VOC{kind.year}"
        for i, (stem, text) in enumerate({"a": entry((1, 1, 5, 4)), "b": entry((3, 2, 12, 8), difficult=1)}.items()):
            write(folder / "JPEGImages" / f"{stem}.jpg", seed=i)
            (folder / "Annotations").mkdir(exist_ok=True)
            (folder / "Annotations" / f"{stem}.xml").write_text(annotation(text))
        write(folder / "JPEGImages" / "of_the_test_set.jpg")
        (folder / "ImageSets/Main").mkdir(parents=True)
        (folder / "ImageSets/Main/trainval.txt").write_text("b\na\n")
    return tmp_path / "VOCdevkit"


@pytest.mark.parametrize("kind", KINDS)
def test_any_root_gives_the_listed_images_with_half_open_boxes(devkit: Path, kind: type[VOC07]) -> None:
    for root in (devkit.parent, devkit, devkit / f"VOC{kind.year}"):
        dataset = kind(root)
        assert dataset.images == [devkit / f"VOC{kind.year}/JPEGImages/{stem}.jpg" for stem in "ab"]
        assert [sample["boxes"].tolist() for sample in dataset] == [[[0, 0, 5, 4]], [[2, 1, 12, 8]]]  # type: ignore[attr-defined]


def test_the_other_years_folder_is_not_taken(devkit: Path) -> None:
    with pytest.raises(UserError, match=r"VOC07: no folder 'JPEGImages'.*\nNext: segtricks data download voc07"):
        VOC07(devkit / "VOC2012")


def test_images_of_hard_objects_alone_are_left_out_on_request(devkit: Path) -> None:
    assert [path.stem for path in VOC07(devkit, hard=False).images] == ["a"]


@pytest.mark.parametrize(("kind", "count"), [(VOC07, "5,011"), (VOC12, "11,540")])
def test_the_published_count_is_compared(devkit: Path, kind: type[VOC07], count: str) -> None:
    with pytest.warns(UserWarning, match=f"{kind.title}: 2 images, {count} were published"):
        kind(devkit)
    with pytest.raises(UserError, match=f"{count} were published"):
        kind(devkit, strict=True)


def test_photographs_alone_need_no_annotations(devkit: Path) -> None:
    shutil.rmtree(devkit / "VOC2007" / "Annotations")
    dataset = VOC07(devkit, require_boxes=False)
    assert dataset[0]["boxes"] is None
    with pytest.raises(UserError, match=r"a\.xml"):
        VOC07(devkit)


@pytest.mark.parametrize("text", [None, "\n"])
def test_a_missing_or_empty_list_is_named(devkit: Path, text: str | None) -> None:
    path = devkit / "VOC2012/ImageSets/Main/trainval.txt"
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(UserError, match=r"trainval\.txt"):
        VOC12(devkit)


def test_an_annotation_of_another_size_is_an_unreadable_image(devkit: Path, write) -> None:  # type: ignore[no-untyped-def]
    write(devkit / "VOC2012/JPEGImages/a.jpg", size=(8, 12))
    with pytest.raises(UserError, match="the image is 8 x 12 pixels, its annotation 12 x 8"):
        VOC12(devkit)[0]


def test_an_object_mask_is_the_union_of_classes_without_their_borders(devkit: Path) -> None:
    classes = np.array([[0, 1, 255], [20, 0, 255]], np.uint8)
    image = Image.fromarray(classes, "P")
    image.putpalette(list(range(256)) * 3)
    (devkit / "VOC2012/SegmentationClass").mkdir()
    image.save(devkit / "VOC2012/SegmentationClass/a.png")
    dataset = VOC12(devkit)
    mask = dataset.object_mask(0)
    assert mask is not None
    assert mask.tolist() == [[[0, 255, 0], [255, 0, 0]]]
    assert dataset.object_mask(1) is None
    (devkit / "VOC2012/SegmentationClass/b.png").write_bytes(b"x")
    with pytest.raises(UserError, match=r"b\.png: not an image"):
        dataset.object_mask(1)


def test_the_real_photographs(photographs: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = VOC12(photographs)
    masks = [dataset.object_mask(i) for i in range(len(dataset))]
    assert (len(dataset), sum(mask is not None for mask in masks)) == (50, 46)
    for sample, mask in zip((dataset[i] for i in range(len(dataset))), masks, strict=True):
        height, width = sample["image"].shape[1:]
        boxes = sample["boxes"]
        assert boxes is not None
        assert len(boxes) > 0
        assert (boxes[:, :2] >= 0).all()
        assert (boxes[:, 2] <= width).all()
        assert (boxes[:, 3] <= height).all()
        assert mask is None or mask.shape[1:] == (height, width)
