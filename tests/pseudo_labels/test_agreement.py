import numpy as np
import pytest
from PIL import Image

from segtricks.errors import UserError
from segtricks.pseudo_labels import Store
from segtricks.pseudo_labels.agreement import store_agreement


def _store(folder, **masks):
    folder.mkdir()
    for name, mask in masks.items():
        Image.fromarray(np.array(mask, np.uint8) * 255).save(folder / f"{name}.png")
    return Store.open(folder)


def test_agreement_is_the_mean_iou_of_photographs_that_both_stores_have(tmp_path):
    first = _store(tmp_path / "first", a=[[1, 1], [0, 0]], b=[[0, 0], [0, 0]], c=[[1, 1], [1, 1]])
    second = _store(tmp_path / "second", a=[[1, 0], [1, 0]], b=[[0, 0], [0, 0]], d=[[1, 1], [1, 1]])
    photographs = [tmp_path / f"{name}.jpg" for name in "abcd"]
    assert store_agreement(first, second, photographs) == pytest.approx((1 / 3 + 1) / 2)


def test_masks_of_another_size_are_brought_to_that_of_the_second_store(tmp_path):
    first = _store(tmp_path / "first", a=[[1, 0]])
    second = _store(tmp_path / "second", a=[[1, 1, 0, 0], [1, 0, 0, 0]])
    assert store_agreement(first, second, [tmp_path / "a.jpg"]) == pytest.approx(3 / 4)


def test_stores_of_different_photographs_do_not_compare(tmp_path):
    stores = _store(tmp_path / "first", a=[[1]]), _store(tmp_path / "second", b=[[1]])
    with pytest.raises(UserError, match="no photograph in common"):
        store_agreement(*stores, [tmp_path / "a.jpg", tmp_path / "b.jpg"])
