import json

import numpy as np
import pytest
from PIL import Image

from segtricks.cli import main
from segtricks.pseudo_labels import Store, encode_mask, write_entry

COLOURS = [(200, 30, 30), (30, 200, 30)] * 3


@pytest.fixture
def photos(tmp_path):
    """Photographs of a red or green square each, and a store of their masks."""
    (tmp_path / "photos").mkdir()
    mask = np.zeros((48, 64), bool)
    mask[8:40, 16:48] = True
    for number, colour in enumerate(COLOURS):
        picture = np.full((48, 64, 3), 100, np.uint8)
        picture[mask] = colour
        Image.fromarray(picture).save(tmp_path / f"photos/{number}.png")
        write_entry(tmp_path / "masks", str(number), f"{number}.png", mask.shape, [encode_mask(mask, 0.9)])
    return tmp_path / "photos"


def _classes(photos, *words):
    base = ["--images", str(photos), "--masks", str(photos.parent / "masks"), "--backbone", "descriptor"]
    return main(["classes", *base, "--size", "32", *words])


def test_kinds_get_classes_sizes_and_a_page(photos, capsys):
    assert _classes(photos, "--k", "2", "--feature", "mask", "--page") == 0
    said = capsys.readouterr().out
    assert "6 instances in 2 classes (3, 3)" in said and "2 of 2 classes hold fewer than 5 instances" in said
    masks = photos.parent / "masks"
    store = Store.open(masks)
    found = [store.entry(name).masks[0].class_id for name in store.names]
    assert found in ([1, 2] * 3, [2, 1] * 3)
    annotations = json.loads((masks / "annotations.json").read_text())["annotations"]
    assert [item["category_id"] for item in annotations] == found
    assert "Masks of each class" in (masks / "page.html").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--k", "9", "--feature", "mask"], "--k 9 classes need as many instances, and 6 can be used: pass --k 6"),
        (["--k", "2"], "backbone 'descriptor' has no class token"),
        (["--k", "0"], "'0' is not a number from 1"),
    ],
)
def test_mistakes_are_named(photos, capsys, words, said):
    assert _classes(photos, *words) == 2
    assert said in capsys.readouterr().err
