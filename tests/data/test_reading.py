import pickle
import warnings

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image

from segtricks.data.datasets.folder import ImageFolder
from segtricks.data.datasets.registry import open_dataset
from segtricks.data.datasets.shards import TarShards
from segtricks.data.images import UnreadableImage
from segtricks.data.reading import Reading
from segtricks.data.sample import SegmentationDataset
from segtricks.data.targets import WithTargets
from segtricks.errors import UserError


def save(path, array, **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array)).save(path, **more)
    return path


@pytest.fixture
def photos(tmp_path):
    """Photographs of 4 x 2 pixels in a folder; the masks to write are given by their rows."""

    def make(*rows, dtype=np.uint8):
        for number, row in enumerate(rows):
            save(tmp_path / f"photos/{number}.png", np.full((2, 4, 3), 9, np.uint8))
            save(tmp_path / f"masks/{number}.png", np.array([row, row], dtype))
        return tmp_path / "photos", tmp_path / "masks"

    return make


def rows_of(dataset):
    return [dataset.read_mask(i)[0, 0].tolist() for i in range(len(dataset))]


def test_a_nearly_empty_mask_is_read_as_its_folder(photos):
    dataset = ImageFolder(*photos([0, 0, 1, 0], [0, 70, 140, 255]))
    assert rows_of(dataset) == [[0, 0, 1, 0], [0, 70, 140, 255]]


def test_masks_of_0_and_1_and_16_bits_of_12_are_read_on_their_scale(photos):
    assert rows_of(ImageFolder(*photos([0, 0, 1, 1], [0, 0, 0, 0]))) == [[0, 0, 255, 255], [0, 0, 0, 0]]
    dataset = ImageFolder(*photos([0, 2048, 4095, 0], [0, 100, 0, 0], dtype=np.uint16))
    assert rows_of(dataset)[0] == [0, 128, 255, 0]


@pytest.mark.parametrize("values", [[0, 1, 255, 1], [1, 2, 3, 1], [0, 2, 2, 0]])
def test_classes_are_refused_with_the_options_of_the_data_until_these_are_given(photos, values):
    place, masks = photos(values, [0, 0, 0, 0])
    with pytest.raises(UserError, match=r"hold the values .*\nNext: .*--data\.foreground"):
        open_dataset(str(place), masks=masks).decide_reading()
    dataset = open_dataset(str(place), masks=masks, foreground=[1, 2], ignore=[255])
    assert rows_of(dataset)[0] == [255 * (value in (1, 2)) for value in values]
    ignored = dataset[0]["ignored"]
    assert ignored is not None
    assert ignored[0, 0].tolist() == [value == 255 for value in values]


def test_nothing_is_ignored_where_nothing_is_said(photos):
    assert ImageFolder(*photos([0, 0, 255, 255]))[0]["ignored"] is None


def test_the_class_maps_of_voc_have_a_meaning_of_their_own(tmp_path):
    save(tmp_path / "photos/a.jpg", np.full((2, 4, 3), 9, np.uint8))
    classes = Image.fromarray(np.array([[0, 15, 255, 2]] * 2, np.uint8)).convert("P")
    classes.putpalette([value for i in range(256) for value in (i, 255 - i, 7)])
    classes.putdata([0, 15, 255, 2] * 2)
    (tmp_path / "SegmentationClass").mkdir()
    classes.save(tmp_path / "SegmentationClass/a.png")
    sample = ImageFolder(tmp_path / "photos", tmp_path / "SegmentationClass")[0]
    assert sample["target"][0, 0].tolist() == [0, 255, 0, 255]
    assert sample["ignored"][0, 0].tolist() == [False, False, True, False]


def test_a_part_is_read_as_the_whole_and_other_processes_decide_nothing(photos, monkeypatch):
    dataset = open_dataset(f"{photos([0, 0, 1, 0], [0, 70, 140, 255])[0]}[:1]", masks=photos()[1])
    dataset.decide_reading()
    copied = pickle.loads(pickle.dumps(dataset))
    monkeypatch.setattr(Reading, "_decide", None)
    assert rows_of(dataset) == rows_of(copied) == [[0, 0, 1, 0]]


def test_a_mask_that_was_not_looked_at_and_is_of_another_scale_cannot_be_read(photos):
    dataset = ImageFolder(*photos([0, 0, 1, 1], [0, 90, 200, 255]))
    dataset.reading.sample = 1
    assert dataset.read_mask(0)[0, 0].tolist() == [0, 0, 255, 255]
    with pytest.raises(UnreadableImage, match="it has the value 255, where the masks of its folder are 0 and 1 alone"):
        dataset.read_mask(1)


def test_masks_in_tar_files_are_read_by_one_rule_too(photos, tmp_path):
    import tarfile

    place, masks = photos([0, 0, 1, 0], [0, 70, 140, 255])
    with tarfile.open(tmp_path / "all.tar", "w") as tar:
        for number in range(2):
            tar.add(place / f"{number}.png", f"{number}.png")
            tar.add(masks / f"{number}.png", f"{number}.mask.png")
    assert rows_of(TarShards(tmp_path / "all.tar", masks=True))[0] == [0, 0, 1, 0]


def test_pseudo_labels_of_a_folder_are_read_by_one_rule(photos):
    place, masks = photos([0, 0, 1, 0], [0, 0, 0, 1])
    dataset = WithTargets(ImageFolder(place), masks)
    assert rows_of(dataset) == [[0, 0, 255, 0], [0, 0, 0, 255]]
    save(masks / "1.png", np.array([[0, 0, 2, 3]] * 2, np.uint8))
    with pytest.raises(UserError, match=r"--data\.foreground"):
        WithTargets(ImageFolder(place), masks).decide_reading()
    WithTargets(ImageFolder(place), masks).with_targets("labels").decide_reading()
    assert rows_of(WithTargets(ImageFolder(place), masks, foreground=[3]))[1] == [0, 0, 0, 255]


DEEP = np.array([[0, 40, 640, 1000]] * 2, np.uint16)


@pytest.mark.parametrize(("factor", "white"), [(0.25, 255), (1, 1023), (4, 4095), (64, 65535)])
def test_photographs_of_16_bits_are_read_on_the_scale_that_all_fit_into(tmp_path, factor, white):
    for number, scale in enumerate((factor, factor / 2)):
        save(tmp_path / f"{number}.png", (DEEP * scale).astype(np.uint16))
    dataset = ImageFolder(tmp_path)
    assert dataset.white == white
    expected = np.rint((DEEP * factor).astype(np.uint16) / white * 255)[0].tolist()
    assert dataset.read_image(0)[0, 0].tolist() == expected
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        dataset.warn_of_reading("photos")
    said = [f"photos: photographs of 16 bits hold no value above {white}, which is read as white"]
    assert [str(each.message) for each in caught] == (said if white < 65535 else [])


def test_a_dark_photograph_among_deeper_ones_is_named_and_left_as_it_is(tmp_path):
    for number, scale in enumerate((1, 64)):
        save(tmp_path / f"{number}.png", DEEP * np.uint16(scale))
    dataset = ImageFolder(tmp_path)
    with pytest.warns(UserWarning, match=r"1 photographs of 16 bits .* read as nearly black,.*\(0\.png\)"):
        dataset.warn_of_reading("photos")
    assert dataset.read_image(0).max() == 4


def test_a_photograph_that_was_not_looked_at_and_is_deeper_cannot_be_read(tmp_path):
    for number, scale in enumerate((1, 64)):
        save(tmp_path / f"{number}.png", DEEP * np.uint16(scale))
    dataset = ImageFolder(tmp_path)
    dataset.reading.sample = 1
    assert dataset.read_image(0).max() == 249
    with pytest.raises(UnreadableImage, match="the value 64000, where the files of its folder end at 1023"):
        dataset.read_image(1)


def test_photographs_that_cannot_be_read_decide_nothing(tmp_path):
    save(tmp_path / "a.png", DEEP)
    (tmp_path / "b.png").write_bytes(b"no image")
    Image.fromarray(np.full((2, 4), 70_000, np.int32)).save(tmp_path / "c.tif")
    assert ImageFolder(tmp_path).white == 1023


@pytest.fixture
def turned(tmp_path):
    """Photographs with EXIF orientations 1, 3 and 6, and masks drawn on their stored pixels."""
    mask = np.zeros((2, 4), np.uint8)
    mask[0, :2] = 255
    for orientation in (1, 3, 6):
        exif = Image.new("L", (1, 1)).getexif()
        exif[ExifTags.Base.Orientation] = orientation
        pixels = np.repeat(mask[..., None], 3, axis=2)
        save(tmp_path / f"photos/{orientation}.png", pixels, exif=exif)
        save(tmp_path / f"masks/{orientation}.png", mask)
    return tmp_path / "photos", tmp_path / "masks"


def test_masks_drawn_on_stored_pixels_are_turned_when_that_is_said(turned):
    place, masks = turned
    dataset = open_dataset(str(place), masks=masks, orientation="raw")
    for index in range(3):
        sample = dataset[index]
        assert torch.equal(sample["image"][:1], sample["target"])
    assert dataset.about() == {"reading": {"orientation": {"drawn_on": "raw", "undecided": 0}}}


def test_without_it_a_size_tells_a_quarter_turn_and_a_half_one_is_said(turned):
    place, masks = turned
    dataset = open_dataset(str(place), masks=masks)
    with pytest.raises(UnreadableImage, match=r"2 x 4 pixels, its mask .* 4 x 2 .*; --data\.orientation raw turns"):
        dataset[2]
    with pytest.warns(UserWarning, match=r"1 photographs have an EXIF orientation.*\(--data\.orientation raw\)"):
        dataset.warn_of_reading("photos")
    assert dataset.about() == {"reading": {"orientation": {"drawn_on": "exif", "undecided": 1}}}


def test_of_sound_data_nothing_is_said(photos):
    dataset = ImageFolder(*photos([0, 0, 255, 255], [0, 90, 200, 255]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset.warn_of_reading("photos")
    assert dataset.about() == {}
    assert SegmentationDataset("bare", dataset.images).about() == {}
