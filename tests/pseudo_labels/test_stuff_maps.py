"""Maps of stuff around the masks of a store; references are drawn."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from segtricks.data.sample import SegmentationDataset
from segtricks.errors import UserError
from segtricks.pseudo_labels import Store, encode_mask, write_entry
from segtricks.pseudo_labels.stuff_maps import Stuff, StuffClusters, write_stuff

SIZE = (16, 16)


@pytest.fixture
def photographs(tmp_path):
    """Three photographs, red above and blue below; the first has an object of 4 x 4 pixels, the others none."""
    paths = [tmp_path / "photos" / f"{number}.png" for number in range(3)]
    paths[0].parent.mkdir()
    picture = np.zeros((*SIZE, 3), np.uint8)
    picture[:8, :, 0] = picture[8:, :, 2] = 200
    mask = np.zeros(SIZE, bool)
    mask[2:6, 2:6] = True
    for path in paths:
        Image.fromarray(picture).save(path)
        masks = [encode_mask(mask, 0.5, 7)] if path.stem == "0" else []
        write_entry(tmp_path / "store", path.stem, path.name, SIZE, masks)
    return SegmentationDataset("photographs", paths)


def _halves(place, size):
    stuff = torch.zeros(size, dtype=torch.int64)
    stuff[8:] = 1
    stuff[:, 14:] = -1
    return stuff


def _encode(photo):
    return photo.float()[:, ::4, ::4]


def test_objects_are_zero_stuff_counts_from_one_and_the_rest_is_void(photographs, tmp_path):
    found = write_stuff(Store.open(tmp_path / "store"), photographs, _halves, 2)
    expected = np.ones(SIZE, int)
    expected[8:], expected[:, 14:] = 2, 255
    np.testing.assert_array_equal(Store.open(tmp_path / "store").entry("1").read_labels(), expected)
    expected[2:6, 2:6] = 0
    entry = Store.open(tmp_path / "store").entry("0")
    np.testing.assert_array_equal(entry.read_labels(), expected)
    assert entry.masks[0].class_id == 7, "entries stay as they are"
    pixels = 3 * 16 * 16
    assert found.shares == pytest.approx([(3 * 8 * 14 - 16) / pixels, 3 * 8 * 14 / pixels])
    assert (found.objects, found.void) == pytest.approx((16 / pixels, 2 / 16))
    assert json.loads((tmp_path / "store/stuff.json").read_text())["void"] == pytest.approx(found.void)


def test_another_store_gets_the_entries_and_broken_photographs_are_listed(photographs, tmp_path):
    photographs.images[2].write_bytes(b"")
    output = tmp_path / "output"
    found = write_stuff(Store.open(tmp_path / "store"), photographs, _halves, 2, output=output)
    assert Store.open(output).names == ["0", "1"] and not (tmp_path / "store/labels").exists()
    assert [path.rsplit("/", 1)[-1] for path, _ in found.skipped] == ["2.png"]


def test_clusters_are_kept_so_that_a_stopped_call_computes_nothing_again(photographs, tmp_path):
    first = StuffClusters(photographs, _encode, 2, tmp_path / "kept", about={"size": 4})
    maps = [first.map(place, SIZE) for place in (0, 1)]
    assert len({int(maps[0][0, 0]), int(maps[0][15, 15])}) == 2
    assert (maps[0][:6] == maps[0][0, 0]).all() and (maps[0][10:] == maps[0][15, 15]).all()
    again = StuffClusters(photographs, lambda photo: 1 / 0, 2, tmp_path / "kept", about={"size": 4})
    assert torch.equal(again.map(0, SIZE), maps[0])
    with pytest.raises(ZeroDivisionError):
        again.map(2, SIZE)
    with pytest.raises(ZeroDivisionError):
        StuffClusters(photographs, lambda photo: 1 / 0, 2, tmp_path / "kept", about={"size": 5})


def test_maps_of_more_classes_than_asked_for_are_refused(photographs, tmp_path):
    with pytest.raises(UserError, match="has the class 1, and --stuff 1 ends before"):
        write_stuff(Store.open(tmp_path / "store"), photographs, _halves, 1)
    with pytest.raises(UserError, match="room for 254"):
        write_stuff(Store.open(tmp_path / "store"), photographs, _halves, 255)


def test_empty_classes_and_one_of_more_than_half_are_warned_of():
    assert Stuff([0.3, 0.3], 0.2, 0.2, []).warnings() == []
    assert Stuff([0.4, 0.3, 0.0], 0.2, 0.1, []).warnings()[1].startswith("1 of 3 classes of stuff hold nothing")
