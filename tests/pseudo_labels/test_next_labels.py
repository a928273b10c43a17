"""What the next round learns, against a loop over the masks and pixels of small entries."""

import json

import numpy as np
import pytest

from segtricks.pseudo_labels import Store, encode_mask, write_entry, write_labels
from segtricks.pseudo_labels.next_labels import write_next_labels

SIZE = (12, 16)


def _box(left, top, right, bottom):
    mask = np.zeros(SIZE, bool)
    mask[top:bottom, left:right] = True
    return mask


def _iou(mask, other):
    return (mask & other).sum() / (mask | other).sum()


def test_sure_objects_and_those_of_before_that_they_do_not_show_are_learned(tmp_path):
    before = [(_box(0, 0, 4, 4), 1), (_box(8, 4, 16, 12), 2), (_box(4, 0, 8, 2), 2)]
    # The first one has an IoU of 0.5 with that of before, the second of less, the third is not sure.
    found = [(_box(0, 0, 4, 8), 0.9, 5), (_box(11, 4, 16, 12), 0.71, 6), (_box(4, 0, 8, 2), 0.69, 6)]
    found[1] = (_box(13, 4, 16, 12), 0.7, 6)
    stuff = np.full(SIZE, 3)
    for mask, _ in before:
        stuff[mask] = 0
    write_labels(tmp_path / "before", "a", stuff)
    write_entry(tmp_path / "before", "a", "a.png", SIZE, [encode_mask(mask, None, kind) for mask, kind in before])
    write_entry(tmp_path / "found", "a", "a.png", SIZE, [encode_mask(*each) for each in found])
    stores = [Store.open(tmp_path / name) for name in ("before", "found")]
    index = write_next_labels(*stores, [tmp_path / "a.png"], tmp_path / "next", 0.7)

    sure = [(mask, kind) for mask, score, kind in found if score >= 0.7]
    earlier = [(mask, kind) for mask, kind in before if all(_iou(mask, other) < 0.5 for other, _ in sure)]
    assert len(earlier) == 2, "the first is found again"
    entry = Store.open(tmp_path / "next").entry("a")
    np.testing.assert_array_equal(entry.arrays(), [mask for mask, _ in [*sure, *earlier]])
    assert [mask.class_id for mask in entry.masks] == [kind for _, kind in [*sure, *earlier]]
    expected = np.where(stuff == 0, 255, stuff)
    for mask, _ in [*sure, *earlier]:
        expected[mask] = 0
    np.testing.assert_array_equal(entry.read_labels(), expected)
    assert (index["found"], index["earlier"], index["empty"]) == (2, 2, [])
    assert json.loads((tmp_path / "next/index.json").read_text())["min_score"] == pytest.approx(0.7)


def test_photographs_without_a_prediction_keep_what_they_had_and_damaged_ones_are_left_out(tmp_path):
    mask = encode_mask(_box(2, 2, 6, 6), None, 4)
    for name in ("a", "b", "c"):
        write_entry(tmp_path / "before", name, f"{name}.png", SIZE, [] if name == "c" else [mask])
    (tmp_path / "before/entries/b.json").write_text("no entry")
    write_entry(tmp_path / "found", "d", "d.png", SIZE, [mask])
    stores = [Store.open(tmp_path / name) for name in ("before", "found")]
    photographs = [tmp_path / f"{name}.png" for name in "abcd"]
    index = write_next_labels(*stores, photographs, tmp_path / "next", 0.7)
    after = Store.open(tmp_path / "next")
    assert after.names == ["a", "c"] and after.entry("a").masks == (mask,)
    assert index["empty"] == ["c"] and index["earlier"] == 1
    assert not (tmp_path / "next/labels").exists(), "there was no map of stuff"
