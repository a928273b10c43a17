import json

import numpy as np
import pytest
import torch
from PIL import Image

from segtricks.data.sample import SegmentationDataset
from segtricks.errors import UserError
from segtricks.pseudo_labels import Store, encode_mask, write_entry
from segtricks.pseudo_labels.pseudo_classes import PseudoClasses, write_pseudo_classes

SIZE = (16, 24)
KINDS = [(0, 2), (2,), (0,), (), (1, 1)]
"""Of the masks of each photograph."""


@pytest.fixture
def photographs(tmp_path):
    """Photographs, and a store whose masks lie in columns 8 k to 8 k + 8, k being their kind."""
    paths = [tmp_path / "photos" / f"{number}.png" for number in range(len(KINDS))]
    paths[0].parent.mkdir()
    for path, kinds in zip(paths, KINDS, strict=True):
        Image.new("RGB", SIZE[::-1]).save(path)
        masks = []
        for row, kind in enumerate(kinds):
            mask = np.zeros(SIZE, bool)
            mask[row * 8 : row * 8 + 8, 8 * kind : 8 * kind + 8] = True
            masks.append(encode_mask(mask, 0.5))
        if path.stem == "0":
            masks.insert(1, encode_mask(np.ones(SIZE, bool)))
        write_entry(tmp_path / "store", path.stem, path.name, SIZE, masks)
    return SegmentationDataset("photographs", paths)


def _encode(photo, entry):
    return torch.tensor([[float(mask.box[0]), 0.1 * mask.box[1]] for mask in entry.masks]).reshape(-1, 2)


def _classes(folder):
    store = Store.open(folder)
    return [[mask.class_id for mask in store.entry(name).masks] for name in store.names]


def test_masks_of_a_kind_get_a_class_from_one_and_full_masks_none(photographs, tmp_path):
    found = write_pseudo_classes(Store.open(tmp_path / "store"), photographs, _encode, 3, about={"feature": "box"})
    classes = _classes(tmp_path / "store")
    of_kind = {kind: classes[photo][mask] for kind, photo, mask in ((0, 0, 0), (1, 4, 0), (2, 0, 2))}
    assert sorted(of_kind.values()) == [1, 2, 3]
    expected = [[of_kind[kind] for kind in kinds] for kinds in KINDS]
    expected[0].insert(1, None)
    assert classes == expected
    content = json.loads((tmp_path / "store/classes.json").read_text())
    assert found.sizes == content["sizes"] == [2, 2, 2] and content["instances"] == 6
    assert Store.open(tmp_path / "store").entry("0").masks[0].score == 0.5, "all else stays"


def test_vectors_are_kept_so_that_another_number_of_classes_computes_none(photographs, tmp_path):
    store = Store.open(tmp_path / "store")
    write_pseudo_classes(store, photographs, _encode, 3, about={"feature": "box"})
    write_pseudo_classes(store, photographs, lambda *given: 1 / 0, 2, about={"feature": "box"})
    assert {number for numbers in _classes(tmp_path / "store") for number in numbers} == {None, 1, 2}
    with pytest.raises(ZeroDivisionError):  # other vectors
        write_pseudo_classes(store, photographs, lambda *given: 1 / 0, 2, about={"feature": "other"})


def test_another_store_gets_all_entries_and_the_masks_stay_as_they_are(photographs, tmp_path):
    output = tmp_path / "output"
    write_pseudo_classes(Store.open(tmp_path / "store"), photographs, _encode, 3, about={}, output=output)
    assert {number for numbers in _classes(tmp_path / "store") for number in numbers} == {None}
    assert [len(numbers) for numbers in _classes(output)] == [3, 1, 1, 0, 2]
    assert _classes(output)[3:] == [[], [_classes(output)[4][0]] * 2]


def test_broken_photographs_and_entries_are_listed_and_left_alone(photographs, tmp_path):
    photographs.images[1].write_bytes(b"")
    (tmp_path / "store/entries/2.json").write_text("{")
    Image.new("RGB", (9, 9)).save(photographs.images[4])
    found = write_pseudo_classes(Store.open(tmp_path / "store"), photographs, _encode, 2, about={})
    assert [path.rsplit("/", 1)[-1] for path, _ in found.skipped] == ["1.png", "2.json", "4.png"]
    assert sum(found.sizes) == 2


def test_more_classes_than_instances_are_refused_with_the_number_to_type(photographs, tmp_path):
    store = Store.open(tmp_path / "store")
    with pytest.raises(UserError, match=r"6 can be used: pass --k 6 or fewer"):
        write_pseudo_classes(store, photographs, _encode, 7, about={})
    with pytest.raises(UserError, match="make masks first"):
        write_pseudo_classes(store, photographs.select([3]), _encode, 1, about={})
    assert {number for numbers in _classes(tmp_path / "store") for number in numbers} == {None}


def test_other_pseudo_labels_than_a_store_with_entries_are_refused(photographs, tmp_path):
    with pytest.raises(UserError, match="has no entries"):
        write_pseudo_classes(Store.open(tmp_path / "photos"), photographs, _encode, 1, about={})


def test_small_classes_and_one_of_more_than_half_are_warned_of():
    assert PseudoClasses([5, 5], []).warnings() == []
    few, most = PseudoClasses([5, 4, 1], []).warnings(), PseudoClasses([11, 5, 5], []).warnings()
    assert len(few) == 1 and few[0].startswith("2 of 3 classes hold fewer than 5 instances")
    assert len(most) == 1 and most[0].startswith("one class holds more than half")
